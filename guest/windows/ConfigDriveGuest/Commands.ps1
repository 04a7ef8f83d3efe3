# What the module offers.

$script:LockSeconds = 60

function Enter-GuestLock {
    # Two runs must not change the same files: one at boot, one by hand.
    $mutex = New-Object System.Threading.Mutex($false, 'Global\ConfigDriveGuest')
    try {
        $entered = $mutex.WaitOne([TimeSpan]::FromSeconds($script:LockSeconds))
    } catch [System.Threading.AbandonedMutexException] {
        $entered = $true # the one before was killed; what it had not finished is done now
    }
    if (-not $entered) {
        $mutex.Dispose()
        $message = "another run has not ended for $script:LockSeconds seconds"
        throw (New-GuestProblem -Code 'Busy' -Message $message)
    }
    return $mutex
}

<#
.SYNOPSIS
Applies what is on the config drive: password, ssh keys and user data, in this order.

.DESCRIPTION
Each password and each user data is applied once. Returns the exit code: 0 when all is applied, 1 when something could
not be applied, 2 to 7 when nothing was. The event log says what happened (Application, source ConfigDriveGuest).
#>
function Invoke-ConfigDriveGuest {
    [CmdletBinding()]
    [OutputType([int])]
    param()
    $ErrorActionPreference = 'Stop'
    $script:Outcome = $script:ExitCode.Done
    $mutex = $null
    $script = $null
    try {
        $settings = Get-GuestSettings
        Initialize-GuestHome
        $mutex = Enter-GuestLock
        $prepared = Invoke-GuestApply -Settings $settings
    } catch {
        $code = $_.Exception.Data['ExitCode']
        if ($null -eq $code) {
            # Not foreseen: its place is told, but not its text, which may show what it was about.
            $code = $script:ExitCode.Failed
            $where = "$($_.InvocationInfo.ScriptName):$($_.InvocationInfo.ScriptLineNumber)"
            Write-GuestEvent -Name 'Stopped' -Message "$($_.Exception.GetType().Name) at $where"
        } else {
            Write-GuestEvent -Name 'Stopped' -Message $_.Exception.Message
        }
        return $code
    } finally {
        if ($mutex) {
            $mutex.ReleaseMutex()
            $mutex.Dispose()
        }
    }
    # Without the lock, as it may take as long as it likes.
    if ($prepared) { Invoke-GuestUserData -Script $prepared }
    return $script:Outcome
}

# Applies password and keys, and returns the script that is to be executed, or nothing.
function Invoke-GuestApply {
    param([Parameter(Mandatory = $true)][hashtable] $Settings)
    $root = Open-GuestDrive -Label $Settings.Label -Wait $Settings.Wait
    # Everything is read first, so that the drive can be exchanged meanwhile.
    $password = Read-GuestItem -Root $root -Item 'password'
    $keys = Read-GuestItem -Root $root -Item 'ssh-keys'
    $userData = Read-GuestItem -Root $root -Item 'userdata'
    $instance = Get-GuestInstance -Root $root
    if ($null -ne $password) {
        Set-GuestPassword -Bytes $password -Instance $instance -Configured $Settings.PasswordUser
    }
    if ($null -ne $keys -and $Settings.SshKeys -eq 'yes') { Set-GuestSshKeys -Bytes $keys }
    if ($null -ne $userData) { Save-GuestUserData -Bytes $userData -Instance $instance -Settings $Settings }
}

function Get-GuestInstance {
    param([Parameter(Mandatory = $true)][string] $Root)
    $bytes = Read-GuestItem -Root $Root -Item 'instance'
    if ($null -eq $bytes) { return '' }
    return [System.Text.Encoding]::UTF8.GetString($bytes)
}

<#
.SYNOPSIS
Returns one item of the config drive: the user data, a metadata value, the names of all, the password, keys or network.

.PARAMETER Item
What: userdata (as bytes), metadata, password, ssh-keys or network (as text).

.PARAMETER Key
Of metadata: which value. Without it, the names of all values are returned.
#>
function Get-ConfigDriveGuestData {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true, Position = 0)]
        [ValidateSet('userdata', 'metadata', 'password', 'ssh-keys', 'network')]
        [string] $Item,

        [Parameter(Position = 1)]
        [ValidatePattern('^[A-Za-z0-9._-]{1,60}$')]
        [string] $Key
    )
    $ErrorActionPreference = 'Stop'
    $root = Open-GuestDrive -Label (Get-GuestSettings).Label
    if ($Item -eq 'metadata') {
        return Get-GuestMetadata -Root $root -Key $Key
    }
    $bytes = Read-GuestItem -Root $root -Item $Item
    if ($null -eq $bytes) {
        throw (New-GuestProblem -Code 'NotThere' -Message "the drive has no $Item")
    }
    if ($Item -eq 'userdata') { return , $bytes }
    return ConvertFrom-GuestBytes -Bytes $bytes
}

function Get-GuestMetadata {
    param([Parameter(Mandatory = $true)][string] $Root, [string] $Key)
    $directory = Join-Path $Root 'cloudstack\metadata'
    if (-not $Key) {
        # Of two spellings of the same, the one with underscores.
        $names = @([System.IO.Directory]::GetFiles($directory, '*.txt') |
                ForEach-Object { [System.IO.Path]::GetFileNameWithoutExtension($_) })
        return $names | Where-Object { $_ -notmatch '-' -or ($_ -replace '-', '_') -notin $names } | Sort-Object
    }
    foreach ($name in $Key, ($Key -replace '-', '_')) {
        $path = Join-Path $directory "$name.txt"
        if (Test-Path -LiteralPath $path -PathType Leaf) {
            return ConvertFrom-GuestBytes -Bytes (Read-GuestFile -Path $path -Item 'metadata')
        }
    }
    throw (New-GuestProblem -Code 'NotThere' -Message "the drive has no metadata $Key")
}

<#
.SYNOPSIS
Says which drive there is, and what of it has been applied; never what a secret is.
#>
function Get-ConfigDriveGuestStatus {
    [CmdletBinding()]
    param()
    $ErrorActionPreference = 'Stop'
    $settings = Get-GuestSettings
    $root = Open-GuestDrive -Label $settings.Label
    $instance = Get-GuestInstance -Root $root
    $password = Read-GuestItem -Root $root -Item 'password'
    $passwordState = 'none'
    if ($null -ne $password) {
        $passwordState = 'waits to be set'
        if (Test-GuestApplied -Kind 'password' -Instance $instance -Bytes $password) { $passwordState = 'set' }
    }
    $keys = Read-GuestItem -Root $root -Item 'ssh-keys'
    $keyCount = 0
    if ($null -ne $keys) {
        $lines = (ConvertFrom-GuestBytes -Bytes $keys) -split '[\r\n]+'
        $keyCount = @($lines | Where-Object { Get-GuestKey -Line $_ }).Count
    }
    $userData = Read-GuestItem -Root $root -Item 'userdata'
    $userDataState = 'none'
    if ($null -ne $userData) {
        $kind = Get-GuestScriptKind -Bytes $userData
        if (-not $kind) { $kind = 'no script for Windows' }
        $userDataState = "$($userData.Length) bytes, $kind"
        if (Test-GuestApplied -Kind 'userdata' -Instance $instance -Bytes $userData) { $userDataState += ', executed' }
    }
    return [pscustomobject]@{
        Drive    = $root
        Label    = $settings.Label
        Instance = $instance
        Password = $passwordState
        SshKeys  = $keyCount
        UserData = $userDataState
    }
}

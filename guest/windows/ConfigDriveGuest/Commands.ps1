# What the module offers.

$script:LockSeconds = 60

# Two runs must not change the same files: one at boot, one by hand. Windows lets go of the file when its process ends,
# however it ends; only administrators can open it.
function Enter-GuestLock {
    $path = Join-Path $script:HomeDirectory 'lock'
    $until = [DateTime]::UtcNow.AddSeconds($script:LockSeconds)
    while ($true) {
        try {
            return [System.IO.File]::Open($path, 'OpenOrCreate', 'ReadWrite', 'None')
        } catch {
            if ([DateTime]::UtcNow -ge $until) {
                $message = "another run has not ended for $script:LockSeconds seconds"
                throw (New-GuestProblem -Code 'Busy' -Message $message)
            }
            Start-Sleep -Seconds 1
        }
    }
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
    $lock = $null
    try {
        Initialize-GuestHome
        if (Test-GuestSetup) {
            Write-GuestEvent -Name 'Setup' -Message 'Windows is still being set up: nothing is applied yet'
            return $script:Outcome
        }
        $settings = Get-GuestSettings
        $lock = Enter-GuestLock
        $prepared = Invoke-GuestApply -Settings $settings
    } catch {
        $code = $_.Exception.Data['ExitCode']
        if ($null -eq $code) {
            # Not foreseen: its place is told, but not its text, which may show what it was about.
            $code = $script:ExitCode.Failed
            $where = "$($_.InvocationInfo.ScriptName):$($_.InvocationInfo.ScriptLineNumber)"
            Write-GuestEvent -Name 'Stopped' -Message "$($_.Exception.GetType().Name) at $where"
        } elseif ($code -eq $script:ExitCode.NoDrive) {
            Write-GuestEvent -Name 'NoDrive' -Message $_.Exception.Message
        } else {
            Write-GuestEvent -Name 'Stopped' -Message $_.Exception.Message
        }
        return $code
    } finally {
        if ($lock) { $lock.Dispose() }
    }
    # Without the lock, as it may take as long as it likes: the task's next run, beside this one, sets a new password.
    if ($prepared) { Invoke-GuestUserData -Prepared $prepared }
    return $script:Outcome
}

# Applies password and keys, and returns the script that is to be executed, or nothing.
function Invoke-GuestApply {
    param([Parameter(Mandatory = $true)][hashtable] $Settings)
    Clear-GuestLeftover
    $root = Open-GuestDrive -Label $Settings.Label -Wait $Settings.Wait
    # Everything is read first, so that the drive can be exchanged meanwhile.
    try {
        $instance = Get-GuestInstance -Root $root
        $password = Read-GuestPart -Root $root -Item 'password' -Failure 'PasswordMalformed'
        $keys = Read-GuestPart -Root $root -Item 'ssh-keys' -Failure 'SshKeysFailed'
        $userData = Read-GuestPart -Root $root -Item 'userdata' -Failure 'UserDataUnread'
    } finally {
        Close-GuestDrive -Root $root
    }
    if ($null -ne $password) {
        Set-GuestPassword -Content $password -Instance $instance -Configured $Settings.PasswordUser
    }
    if ($null -ne $keys -and $Settings.SshKeys -eq 'yes') { Set-GuestSshKeys -Content $keys }
    if ($null -ne $userData) { Save-GuestUserData -Content $userData -Instance $instance -Settings $Settings }
}

# What cannot be read, or is too large, keeps nothing else from being applied.
function Read-GuestPart {
    param(
        [Parameter(Mandatory = $true)][string] $Root,
        [Parameter(Mandatory = $true)][string] $Item,
        [Parameter(Mandatory = $true)][string] $Failure
    )
    try {
        return Read-GuestItem -Root $Root -Item $Item
    } catch {
        Write-GuestFailure -Name $Failure -Message $_.Exception.Message
    }
}

# Returns whose drive it is: the VM's uuid, which no metadata can change; the instance id on drives of others without.
function Get-GuestInstance {
    param([Parameter(Mandatory = $true)][string] $Root)
    $document = Read-GuestItem -Root $Root -Item 'document'
    if ($null -ne $document) {
        $uuid = Get-GuestJsonString -Content $document -Name 'uuid'
        if ($uuid -match '^[A-Za-z0-9-]+$') { return $uuid }
    }
    $content = Read-GuestItem -Root $Root -Item 'instance'
    if ($null -eq $content) { return '' }
    return [System.Text.Encoding]::UTF8.GetString($content.Bytes)
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
    try {
        if ($Item -eq 'metadata') {
            return Get-GuestMetadata -Root $root -Key $Key
        }
        $content = Read-GuestItem -Root $root -Item $Item
        if ($null -eq $content) {
            throw (New-GuestProblem -Code 'NotThere' -Message "the drive has no $Item")
        }
        if ($Item -eq 'userdata') { return , $content.Bytes }
        return $script:Utf8.GetString($content.Bytes)
    } finally {
        Close-GuestDrive -Root $root
    }
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
            return $script:Utf8.GetString((Read-GuestFile -Path $path -Item 'metadata').Bytes)
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
    try {
        $instance = Get-GuestInstance -Root $root
        $password = Read-GuestItem -Root $root -Item 'password'
        $keys = Read-GuestItem -Root $root -Item 'ssh-keys'
        $userData = Read-GuestItem -Root $root -Item 'userdata'
    } finally {
        Close-GuestDrive -Root $root
    }
    $user = Get-GuestUserName -Configured $settings.PasswordUser
    $passwordState = 'none'
    if ($null -ne $password) {
        $passwordState = 'waits to be set'
        if (Test-GuestApplied -Kind "password:$user" -Instance $instance -Content $password) { $passwordState = 'set' }
    }
    $keyCount = 0
    if ($null -ne $keys) {
        $lines = $script:Utf8.GetString($keys.Bytes) -split '[\r\n]+'
        $keyCount = @($lines | Where-Object { Get-GuestKey -Line $_ }).Count
    }
    $userDataState = 'none'
    if ($null -ne $userData) {
        $kind = (@(Get-GuestScript -Content $userData) | ForEach-Object { $_.Kind }) -join ', '
        if (-not $kind) { $kind = 'no script for Windows' }
        $userDataState = "$($userData.Bytes.Length) bytes, $kind"
        $executed = Test-GuestApplied -Kind 'userdata' -Instance $instance -Content $userData
        if ($executed) { $userDataState += ', executed' }
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

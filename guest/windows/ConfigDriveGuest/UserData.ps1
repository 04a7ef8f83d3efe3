# The user data: executed once, as SYSTEM, when it is a script for Windows; marked as cloudbase-init wants it.

$script:PowerShellPattern = '^#(ps1|ps1_sysnative)\s'
$script:PowerShellX86Pattern = '^#ps1_x86\s'
$script:CmdPattern = '^rem\s+cmd\s'

function Test-GuestByteOrderMark {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $bytes = $Content.Bytes
    return $bytes.Length -ge 3 -and $bytes[0] -eq 0xEF -and $bytes[1] -eq 0xBB -and $bytes[2] -eq 0xBF
}

# Returns 'ps1', 'ps1_x86', 'cmd', or nothing.
function Get-GuestScriptKind {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $offset = 0
    if (Test-GuestByteOrderMark -Content $Content) { $offset = 3 }
    $length = [Math]::Min(64, $Content.Bytes.Length - $offset)
    $beginning = [System.Text.Encoding]::ASCII.GetString($Content.Bytes, $offset, $length)
    if ($beginning -cmatch $script:PowerShellPattern) { return 'ps1' }
    if ($beginning -cmatch $script:PowerShellX86Pattern) { return 'ps1_x86' }
    if ($beginning -cmatch $script:CmdPattern) { return 'cmd' }
}

# cloudbase-init reads config drives with the label config-2, and executes scripts itself.
function Test-GuestCloudbaseInit {
    param([Parameter(Mandatory = $true)][string] $Label)
    return $Label -ieq 'config-2' -and $null -ne (Get-Service -Name 'cloudbase-init' -ErrorAction SilentlyContinue)
}

function Test-GuestUtf8 {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    try {
        return $script:Utf8.GetCharCount($Content.Bytes) -ge 0
    } catch {
        return $false
    }
}

function Write-GuestScript {
    param(
        [Parameter(Mandatory = $true)][string] $Path,
        [Parameter(Mandatory = $true)][string] $Kind,
        [Parameter(Mandatory = $true)][hashtable] $Content
    )
    $stream = [System.IO.File]::Create($Path)
    try {
        # Windows PowerShell takes a file without this mark for one in the machine's ANSI code page.
        $isMarked = $Kind -eq 'cmd' -or (Test-GuestByteOrderMark -Content $Content)
        if (-not $isMarked -and (Test-GuestUtf8 -Content $Content)) {
            $stream.Write([byte[]](0xEF, 0xBB, 0xBF), 0, 3)
        }
        $stream.Write($Content.Bytes, 0, $Content.Bytes.Length)
    } finally {
        $stream.Dispose()
    }
}

# Returns the script that is to be executed, or nothing.
function Save-GuestUserData {
    param(
        [Parameter(Mandatory = $true)][hashtable] $Content,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Instance,
        [Parameter(Mandatory = $true)][hashtable] $Settings
    )
    if ($Content.Bytes.Length -eq 0) { return }
    $kind = Get-GuestScriptKind -Content $Content
    $left = ''
    if (-not $kind) {
        $left = 'the user data is no script for Windows, and left alone'
    } elseif ($Settings.UserData -eq 'no') {
        $left = 'the user data is a script, and left alone: UserData is no'
    } elseif ($Settings.UserData -eq 'auto' -and (Test-GuestCloudbaseInit -Label $Settings.Label)) {
        $left = 'the user data is a script, which is left to cloudbase-init'
    }
    if ($left) {
        Write-GuestEvent -Name 'UserDataLeft' -Message $left
        return
    }
    if (Test-GuestApplied -Kind 'userdata' -Instance $Instance -Content $Content) {
        Write-Verbose 'the user data was executed before'
        return
    }
    $extension = 'ps1'
    if ($kind -eq 'cmd') { $extension = 'cmd' }
    $path = Join-Path $script:HomeDirectory "user-data.$extension"
    Write-GuestScript -Path $path -Kind $kind -Content $Content
    # Also when it fails: a script that restarts the machine or fails is not one to be repeated at each boot.
    Set-GuestApplied -Kind 'userdata' -Instance $Instance -Content $Content
    return @{ Path = $path; Kind = $kind }
}

# Where a 32-bit PowerShell on a 64-bit Windows finds the 64-bit programs, too.
function Get-GuestSystemDirectory {
    param([Parameter(Mandatory = $true)][string] $Kind)
    $name = 'System32'
    if ([Environment]::Is64BitOperatingSystem) {
        if ($Kind -eq 'ps1_x86') {
            $name = 'SysWOW64'
        } elseif (-not [Environment]::Is64BitProcess) {
            $name = 'Sysnative'
        }
    }
    return Join-Path $env:SystemRoot $name
}

function Invoke-GuestUserData {
    param([Parameter(Mandatory = $true)][hashtable] $Prepared)
    # In our directory, as a script's output may be as secret as the script.
    $log = Join-Path $script:HomeDirectory 'user-data.log'
    $errors = Join-Path $script:HomeDirectory 'user-data-errors.log'
    $system = Get-GuestSystemDirectory -Kind $Prepared.Kind
    if ($Prepared.Kind -eq 'cmd') {
        $program = Join-Path $system 'cmd.exe'
        $arguments = "/d /c `"$($Prepared.Path)`""
    } else {
        $program = Join-Path $system 'WindowsPowerShell\v1.0\powershell.exe'
        $arguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$($Prepared.Path)`""
    }
    Write-GuestEvent -Name 'UserDataBegins' -Message "executing the user data; its output is in $log"
    try {
        $process = Start-Process -FilePath $program -ArgumentList $arguments -WorkingDirectory $script:HomeDirectory `
            -RedirectStandardOutput $log -RedirectStandardError $errors -NoNewWindow -PassThru
        # Held, or Windows forgets the exit code. Not -Wait, which waits for all that the script leaves running, too.
        $handle = $process.Handle
        $process.WaitForExit()
        $code = $process.ExitCode
        Write-Verbose "process $handle ended"
    } catch {
        Write-GuestFailure -Name 'UserDataFailed' -Message "the user data could not be executed by $program"
        return
    }
    if ($code -eq 0) {
        Write-GuestEvent -Name 'UserDataEnded' -Message 'the user data ended well'
    } else {
        Write-GuestFailure -Name 'UserDataFailed' -Message "the user data ended with code $code"
    }
}

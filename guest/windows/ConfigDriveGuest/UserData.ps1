# The user data: executed once, as SYSTEM, when it is a script for Windows; marked as cloudbase-init wants it.

# The whole first word decides, as in cloudbase-init.
$script:PowerShellPattern = '^#(ps1|ps1_sysnative)\s'
$script:PowerShellX86Pattern = '^#ps1_x86\s'
$script:CmdPattern = '^rem\s+cmd\s'

# Returns 'ps1', 'ps1_x86', 'cmd', or nothing.
function Get-GuestScriptKind {
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][byte[]] $Bytes)
    $offset = 0
    if ($Bytes.Length -ge 3 -and $Bytes[0] -eq 0xEF -and $Bytes[1] -eq 0xBB -and $Bytes[2] -eq 0xBF) { $offset = 3 }
    $length = [Math]::Min(64, $Bytes.Length - $offset)
    $beginning = [System.Text.Encoding]::ASCII.GetString($Bytes, $offset, $length)
    if ($beginning -cmatch $script:PowerShellPattern) { return 'ps1' }
    if ($beginning -cmatch $script:PowerShellX86Pattern) { return 'ps1_x86' }
    if ($beginning -cmatch $script:CmdPattern) { return 'cmd' }
}

# cloudbase-init reads config drives with the label config-2, and executes scripts itself.
function Test-GuestCloudbaseInit {
    param([Parameter(Mandatory = $true)][string] $Label)
    return $Label -ieq 'config-2' -and $null -ne (Get-Service -Name 'cloudbase-init' -ErrorAction SilentlyContinue)
}

# Windows PowerShell takes a file without a byte order mark for one in the machine's ANSI code page.
function Get-GuestScriptBytes {
    param([Parameter(Mandatory = $true)][byte[]] $Bytes, [Parameter(Mandatory = $true)][string] $Kind)
    if ($Kind -ne 'cmd' -and $Bytes[0] -ne 0xEF) {
        try {
            ConvertFrom-GuestBytes -Bytes $Bytes | Out-Null
            return , ([byte[]](0xEF, 0xBB, 0xBF) + $Bytes)
        } catch {
            Write-Verbose 'the user data is not UTF-8 and is executed as it is'
        }
    }
    return , $Bytes
}

# Returns the path of the script that is to be executed, or nothing.
function Save-GuestUserData {
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][byte[]] $Bytes,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Instance,
        [Parameter(Mandatory = $true)][hashtable] $Settings
    )
    if ($Bytes.Length -eq 0) { return }
    $kind = Get-GuestScriptKind -Bytes $Bytes
    $left = ''
    if (-not $kind) {
        $left = 'the user data is no script for Windows, and left alone'
    } elseif ($Settings.UserData -eq 'no') {
        $left = 'the user data is a script, and left alone: UserData is no'
    } elseif ($Settings.UserData -eq 'auto' -and (Test-GuestCloudbaseInit -Label $Settings.Label)) {
        $left = 'the user data is a script, which is left to cloudbase-init'
    } elseif (Test-GuestApplied -Kind 'userdata' -Instance $Instance -Bytes $Bytes) {
        $left = 'the user data was executed before'
    }
    if ($left) {
        Write-GuestEvent -Name 'UserDataLeft' -Message $left
        return
    }
    $extension = 'ps1'
    if ($kind -eq 'cmd') { $extension = 'cmd' }
    $path = Join-Path $script:HomeDirectory "user-data.$extension"
    [System.IO.File]::WriteAllBytes($path, (Get-GuestScriptBytes -Bytes $Bytes -Kind $kind))
    # Also when it fails: a script that restarts the machine or fails is not one to be repeated at each boot.
    Set-GuestApplied -Kind 'userdata' -Instance $Instance -Bytes $Bytes
    return @{ Path = $path; Kind = $kind }
}

function Invoke-GuestUserData {
    param([Parameter(Mandatory = $true)][hashtable] $Script)
    # In this directory, as a script's output may be as secret as the script.
    $log = Join-Path $script:HomeDirectory 'user-data.log'
    $errors = Join-Path $script:HomeDirectory 'user-data-errors.log'
    $system = 'System32'
    if ($Script.Kind -eq 'ps1_x86' -and [Environment]::Is64BitOperatingSystem) { $system = 'SysWOW64' }
    if ($Script.Kind -eq 'cmd') {
        $program = Join-Path $env:SystemRoot 'System32\cmd.exe'
        $arguments = "/d /c `"$($Script.Path)`""
    } else {
        $program = Join-Path $env:SystemRoot "$system\WindowsPowerShell\v1.0\powershell.exe"
        $arguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$($Script.Path)`""
    }
    Write-GuestEvent -Name 'UserDataBegins' -Message "executing the user data; its output is in $log"
    try {
        $process = Start-Process -FilePath $program -ArgumentList $arguments -WorkingDirectory $script:HomeDirectory `
            -RedirectStandardOutput $log -RedirectStandardError $errors -WindowStyle Hidden -PassThru -Wait
        $code = $process.ExitCode
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

# The user data: what of it is a script for Windows is executed once, as SYSTEM.

# cloudbase-init reads config drives with the label config-2, and executes scripts itself.
function Test-GuestCloudbaseInit {
    param([Parameter(Mandatory = $true)][string] $Label)
    return $Label -ieq 'config-2' -and (Test-GuestService -Name 'cloudbase-init')
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

# Returns what is held while user data is executed, or nothing while other user data still is. Windows lets go of it
# when the process ends, however it ends.
function Enter-GuestUserData {
    $path = Join-Path $script:HomeDirectory 'user-data.lock'
    try {
        return [System.IO.File]::Open($path, 'OpenOrCreate', 'ReadWrite', 'None')
    } catch {
        return
    }
}

# Returns @{ Scripts = @(@{ Path; Kind }); Content; Instance; Held } of what is to be executed, or nothing.
function Save-GuestUserData {
    param(
        [Parameter(Mandatory = $true)][hashtable] $Content,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Instance,
        [Parameter(Mandatory = $true)][hashtable] $Settings
    )
    if ($Content.Bytes.Length -eq 0) { return }
    try {
        $scripts = @(Get-GuestScript -Content $Content)
    } catch {
        Write-GuestFailure -Name 'UserDataUnread' -Message 'the user data cannot be unpacked'
        return
    }
    $left = ''
    if ($scripts.Count -eq 0) {
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
    # Asked to be executed again at the next boot, it waits for that.
    if (Test-GuestApplied -Kind 'again' -Instance "$Instance $(Get-GuestBoot)" -Content $Content) { return }
    # One after the other: cmd.exe reads a script while it executes it, and the logs are open.
    $held = Enter-GuestUserData
    if ($null -eq $held) {
        Write-GuestEvent -Name 'UserDataWaits' -Message 'the user data waits: other user data is still being executed'
        return
    }
    try {
        $paths = @()
        foreach ($one in $scripts) {
            $extension = 'ps1'
            if ($one.Kind -eq 'cmd') { $extension = 'cmd' }
            $path = Join-Path $script:HomeDirectory "user-data-$($paths.Count + 1).$extension"
            Write-GuestScript -Path $path -Kind $one.Kind -Content $one
            $paths += @{ Path = $path; Kind = $one.Kind }
        }
        # Also when it fails: a script that restarts the machine or fails is not one to be repeated at each boot.
        Set-GuestApplied -Kind 'userdata' -Instance $Instance -Content $Content
    } catch {
        $held.Dispose()
        throw
    }
    return @{ Scripts = $paths; Content = $Content; Instance = $Instance; Held = $held }
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

# Executes all scripts in turn, until one asks for a restart.
function Invoke-GuestUserData {
    param([Parameter(Mandatory = $true)][hashtable] $Prepared)
    $isAgain = $false
    try {
        foreach ($one in $Prepared.Scripts) {
            $wish = Invoke-GuestScript -Path $one.Path -Kind $one.Kind
            $isAgain = $isAgain -or $wish.Again
            if ($wish.Restart) { break }
        }
        if ($isAgain) { Set-GuestAgain -Prepared $Prepared }
    } finally {
        $Prepared.Held.Dispose()
    }
    if ($wish.Restart) { Restart-Guest }
}

# Notes that the user data is to be executed again at the next boot, with the lock: a run beside this one may be noting
# a password, or newer user data.
function Set-GuestAgain {
    param([Parameter(Mandatory = $true)][hashtable] $Prepared)
    try {
        $lock = Enter-GuestLock
    } catch {
        $message = "the user data is not executed again: $($_.Exception.Message)"
        Write-GuestFailure -Name 'UserDataFailed' -Message $message
        return
    }
    try {
        $thisBoot = "$($Prepared.Instance) $(Get-GuestBoot)"
        Set-GuestApplied -Kind 'again' -Instance $thisBoot -Content $Prepared.Content
        if (Test-GuestApplied -Kind 'userdata' -Instance $Prepared.Instance -Content $Prepared.Content) {
            Remove-GuestApplied -Kind 'userdata'
        }
    } finally {
        $lock.Dispose()
    }
    Write-GuestEvent -Name 'UserDataAgain' -Message 'the user data asks to be executed again at the next boot'
}

# Executes one script, and returns what its exit code asks for.
function Invoke-GuestScript {
    param([Parameter(Mandatory = $true)][string] $Path, [Parameter(Mandatory = $true)][string] $Kind)
    # In our directory, as a script's output may be as secret as the script.
    $log = $Path -replace '\.\w+$', ''
    $system = Get-GuestSystemDirectory -Kind $Kind
    if ($Kind -eq 'cmd') {
        $program = Join-Path $system 'cmd.exe'
        $arguments = "/d /c `"$Path`""
    } else {
        $program = Join-Path $system 'WindowsPowerShell\v1.0\powershell.exe'
        $arguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$Path`""
    }
    Write-GuestEvent -Name 'UserDataBegins' -Message "executing the user data; its output is in $log.log"
    try {
        $code = Invoke-GuestProcess -Program $program -Arguments $arguments -Log $log
    } catch {
        Write-GuestFailure -Name 'UserDataFailed' -Message "the user data could not be executed by $program"
        return Get-GuestWish -Code 0
    }
    $wish = Get-GuestWish -Code $code
    if ($wish.Failed) {
        Write-GuestFailure -Name 'UserDataFailed' -Message "the user data ended with code $code"
    } else {
        Write-GuestEvent -Name 'UserDataEnded' -Message "the user data ended well, with code $code"
    }
    return $wish
}

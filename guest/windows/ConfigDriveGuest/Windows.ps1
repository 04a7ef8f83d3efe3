# All that asks or changes Windows beyond files: the rest of the module is functions of what they are given.
# Tests replace these.

# Says whether Windows is still setting itself up (sysprep, OOBE): what is set now would be set back.
function Test-GuestSetup {
    try {
        $setup = Get-ItemProperty -LiteralPath 'HKLM:\SYSTEM\Setup' -ErrorAction Stop
        if ($setup.SystemSetupInProgress -ne 0) { return $true }
        $state = Get-ItemProperty -ErrorAction Stop `
            -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State'
        return $state.ImageState -ne 'IMAGE_STATE_COMPLETE'
    } catch {
        return $false
    }
}

# Returns what is the same until the machine starts again. Without WMI nothing is told apart, and nothing fails.
function Get-GuestBoot {
    try {
        $system = Get-CimInstance -ClassName Win32_OperatingSystem -ErrorAction Stop
        return $system.LastBootUpTime.ToUniversalTime().ToString('s')
    } catch {
        return 'unknown'
    }
}

# Returns the name of the built-in administrator, whose relative id is 500; nothing when there is none.
function Get-GuestAdministrator {
    $machine = [ADSI]"WinNT://$env:COMPUTERNAME,computer"
    foreach ($entry in $machine.psbase.Children) {
        if ($entry.psbase.SchemaClassName -eq 'User') {
            $bytes = [byte[]]$entry.psbase.Properties['objectSid'].Value
            $sid = New-Object System.Security.Principal.SecurityIdentifier($bytes, 0)
            if ($sid.Value -like 'S-1-5-21-*-500') { return [string]$entry.psbase.Name }
        }
    }
}

# Returns nothing, or the Windows error. Only its number: an exception's text could show what it was called with.
# Not Set-LocalUser: its module does not load in every PowerShell 7.
function Invoke-GuestPasswordChange {
    param(
        [Parameter(Mandatory = $true)][string] $User,
        [Parameter(Mandatory = $true)][hashtable] $Password
    )
    try {
        $account = [ADSI]"WinNT://$env:COMPUTERNAME/$User,user"
        [void]$account.psbase.Invoke('SetPassword', [object[]]@($Password.Text))
    } catch {
        $exception = $_.Exception
        while ($exception.InnerException) { $exception = $exception.InnerException }
        return $exception.HResult -band 0xFFFF
    }
}

# Returns @{ Root; Label } of each CD that Windows shows.
function Get-GuestVolume {
    foreach ($drive in [System.IO.DriveInfo]::GetDrives()) {
        try {
            if ($drive.DriveType -eq [System.IO.DriveType]::CDRom -and $drive.IsReady) {
                @{ Root = $drive.RootDirectory.FullName; Label = $drive.VolumeLabel }
            }
        } catch {
            # A medium that was taken out between two questions is no drive.
            Write-Verbose "$($drive.Name) went away"
        }
    }
}

# Returns the paths of all disks that are no CD: on those Windows knows no ISO 9660, so the module reads it itself.
function Get-GuestDisk {
    foreach ($number in 0..31) { "\\.\PhysicalDrive$number" }
}

# Opens a disk for reading, as @{ Stream = ... }; returns nothing when there is none.
function Open-GuestDisk {
    param([Parameter(Mandatory = $true)][string] $Path)
    try {
        return @{ Stream = New-Object System.IO.FileStream($Path, 'Open', 'Read', 'ReadWrite', 2048) }
    } catch {
        Write-Verbose "there is no $Path"
    }
}

function Test-GuestService {
    param([Parameter(Mandatory = $true)][string] $Name)
    return $null -ne (Get-Service -Name $Name -ErrorAction SilentlyContinue)
}

# Runs a program and returns its exit code.
function Invoke-GuestProcess {
    param(
        [Parameter(Mandatory = $true)][string] $Program,
        [Parameter(Mandatory = $true)][string] $Arguments,
        [Parameter(Mandatory = $true)][string] $Log
    )
    $process = Start-Process -FilePath $Program -ArgumentList $Arguments -WorkingDirectory $script:HomeDirectory `
        -RedirectStandardOutput "$Log.log" -RedirectStandardError "$Log-errors.log" -NoNewWindow -PassThru
    # Held, or Windows forgets the exit code. Not -Wait, which waits for all that the script leaves running, too.
    $handle = $process.Handle
    $process.WaitForExit()
    Write-Verbose "process $handle ended"
    return $process.ExitCode
}

function Restart-Guest {
    Restart-Computer -Force
}

# The .NET class, as PowerShell 7 has no Write-EventLog.
function Write-GuestEventLog {
    param(
        [Parameter(Mandatory = $true)][string] $Message,
        [Parameter(Mandatory = $true)][int] $Id
    )
    $type = [System.Diagnostics.EventLogEntryType]::Information
    if ($Id -ge 100) { $type = [System.Diagnostics.EventLogEntryType]::Error }
    if (-not [System.Diagnostics.EventLog]::SourceExists($script:EventSource)) {
        [System.Diagnostics.EventLog]::CreateEventSource($script:EventSource, 'Application')
    }
    [System.Diagnostics.EventLog]::WriteEntry($script:EventSource, $Message, $type, $Id)
}

# Gives a file or directory to SYSTEM and the administrators alone, with nothing inherited, in whatever language.
function Protect-GuestPath {
    param([Parameter(Mandatory = $true)][string] $Path)
    $inherit = [System.Security.AccessControl.InheritanceFlags]::None
    if (Test-Path -LiteralPath $Path -PathType Container) {
        $acl = New-Object System.Security.AccessControl.DirectorySecurity
        $inherit = [System.Security.AccessControl.InheritanceFlags]'ContainerInherit, ObjectInherit'
    } else {
        $acl = New-Object System.Security.AccessControl.FileSecurity
    }
    $acl.SetAccessRuleProtection($true, $false)
    $administrators = New-Object System.Security.Principal.SecurityIdentifier('S-1-5-32-544')
    $system = New-Object System.Security.Principal.SecurityIdentifier('S-1-5-18')
    foreach ($who in $administrators, $system) {
        $rule = New-Object System.Security.AccessControl.FileSystemAccessRule(
            $who,
            [System.Security.AccessControl.FileSystemRights]::FullControl,
            $inherit,
            [System.Security.AccessControl.PropagationFlags]::None,
            [System.Security.AccessControl.AccessControlType]::Allow)
        $acl.AddAccessRule($rule)
    }
    # sshd refuses keys that belong to anybody else.
    $acl.SetOwner($administrators)
    Set-Acl -LiteralPath $Path -AclObject $acl
}

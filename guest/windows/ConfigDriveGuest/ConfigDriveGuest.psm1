# ConfigDriveGuest: takes what a VM is told on its config drive. For a Windows template; runs as SYSTEM.
#
# Windows PowerShell 5.1 and PowerShell 7. A secret is never an argument of a program, and is in no event and no error.

Set-StrictMode -Version 2.0

# Exit codes, the same as those of the Linux program.
$script:ExitCode = @{
    Done       = 0
    Failed     = 1 # something could not be applied; the event says what
    Usage      = 2 # called or configured wrongly
    NoDrive    = 3 # no drive with the label
    Ambiguous  = 4 # several of them
    Unreadable = 5
    NotThere   = 6 # the drive lacks what was asked for
    Busy       = 7 # another run did not end in time
}

$script:HomeDirectory = Join-Path $env:ProgramData 'ConfigDriveGuest'

$names = @(
    'Windows', 'Log', 'Settings', 'Json', 'Iso', 'Drive', 'State', 'Password', 'SshKeys',
    'Scripts', 'UserData', 'Commands')
foreach ($name in $names) {
    . (Join-Path $PSScriptRoot "$name.ps1")
}

Export-ModuleMember -Function 'Invoke-ConfigDriveGuest', 'Get-ConfigDriveGuestData', 'Get-ConfigDriveGuestStatus'

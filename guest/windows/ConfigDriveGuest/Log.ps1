# What is told to the event log (Application, source ConfigDriveGuest), and problems that end a run.

$script:EventSource = 'ConfigDriveGuest'

# Event ids; docs/how-to/guest-windows.md has the same table. From 100 on they are errors.
$script:EventId = @{
    PasswordSet       = 10
    SshKeys           = 20
    SshKeysLeft       = 21
    UserDataBegins    = 30
    UserDataEnded     = 31
    UserDataLeft      = 32
    UserDataAgain     = 33
    UserDataWaits     = 34
    NoDrive           = 40
    Setup             = 41
    Stopped           = 100 # by a problem with the drive or the settings; the message says which
    PasswordPolicy    = 110
    PasswordFailed    = 111
    PasswordMalformed = 112
    SshKeysFailed     = 120
    UserDataUnread    = 130
    UserDataFailed    = 131
}

# What every run finds again, and says once in each boot only.
$script:SaidOnce = @(
    'SshKeysLeft', 'UserDataLeft', 'UserDataAgain', 'UserDataWaits', 'NoDrive', 'Setup', 'Stopped', 'PasswordFailed',
    'PasswordMalformed', 'SshKeysFailed', 'UserDataUnread')

# Says whether a message was told in this boot, and remembers it.
function Test-GuestSaid {
    param([Parameter(Mandatory = $true)][string] $Message)
    try {
        $path = Join-Path $script:HomeDirectory 'said.txt'
        $boot = Get-GuestBoot
        $lines = @()
        if (Test-Path -LiteralPath $path) { $lines = @([System.IO.File]::ReadAllLines($path)) }
        if ($lines.Count -eq 0 -or $lines[0] -ne $boot) { $lines = @($boot) }
        $line = $Message -replace '\s+', ' '
        if ($line -in $lines) { return $true }
        [System.IO.File]::WriteAllLines($path, [string[]]($lines + $line))
    } catch {
        Write-Verbose 'what was said is not remembered'
    }
    return $false
}

function Write-GuestEvent {
    param(
        [Parameter(Mandatory = $true)][string] $Name,
        [Parameter(Mandatory = $true)][string] $Message
    )
    Write-Verbose $Message
    if ($Name -in $script:SaidOnce -and (Test-GuestSaid -Message $Message)) { return }
    try {
        Write-GuestEventLog -Message $Message -Id $script:EventId[$Name]
    } catch {
        # A full or locked event log must not keep the VM from its password.
        Write-Warning "The event log takes nothing: $Message"
    }
}

# A problem after which the rest is still applied.
function Write-GuestFailure {
    param(
        [Parameter(Mandatory = $true)][string] $Name,
        [Parameter(Mandatory = $true)][string] $Message
    )
    $script:Outcome = $script:ExitCode.Failed
    Write-GuestEvent -Name $Name -Message $Message
}

# A problem that ends the run: an exception that carries its exit code.
function New-GuestProblem {
    param(
        [Parameter(Mandatory = $true)][string] $Code,
        [Parameter(Mandatory = $true)][string] $Message
    )
    $problem = New-Object System.InvalidOperationException($Message)
    $problem.Data['ExitCode'] = $script:ExitCode[$Code]
    return $problem
}

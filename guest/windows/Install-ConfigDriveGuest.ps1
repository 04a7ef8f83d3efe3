<#
.SYNOPSIS
Installs ConfigDriveGuest into a Windows template: the module, its settings, and the scheduled task that runs it.

.DESCRIPTION
Run it as an administrator in the template. Run it again to install a newer version: the settings are kept, and what was
applied is not forgotten. The task
runs as SYSTEM at each start and then every few minutes, so that a drive exchanged while Windows runs is noticed.

.PARAMETER Minutes
Between two looks at the drive.

.PARAMETER Forget
Forgets what was applied, and removes what it has left: user data, their logs, and the administrators' ssh keys. For the
last step before a VM becomes a template.

.PARAMETER Uninstall
Removes the task, the module, what it remembers and the settings.
#>
[CmdletBinding()]
param(
    [ValidateRange(1, 1440)]
    [int] $Minutes = 5,

    [switch] $Forget,

    [switch] $Uninstall
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$taskName = 'ConfigDriveGuest'
# On the module path of Windows PowerShell and of PowerShell 7 alike; only administrators can write there.
$modules = Join-Path $env:ProgramFiles 'WindowsPowerShell\Modules\ConfigDriveGuest'
$homeDirectory = Join-Path $env:ProgramData 'ConfigDriveGuest'

$identity = [System.Security.Principal.WindowsIdentity]::GetCurrent()
$principal = New-Object System.Security.Principal.WindowsPrincipal($identity)
if (-not $principal.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'This needs an administrator: start PowerShell by "Run as administrator".'
}

if (Get-ScheduledTask -TaskName $taskName -ErrorAction SilentlyContinue) {
    Stop-ScheduledTask -TaskName $taskName
    Unregister-ScheduledTask -TaskName $taskName -Confirm:$false
}
if (Test-Path -LiteralPath $modules) { Remove-Item -LiteralPath $modules -Recurse -Force }
if ($Uninstall) {
    if (Test-Path -LiteralPath $homeDirectory) { Remove-Item -LiteralPath $homeDirectory -Recurse -Force }
    if ([System.Diagnostics.EventLog]::SourceExists('ConfigDriveGuest')) {
        [System.Diagnostics.EventLog]::DeleteEventSource('ConfigDriveGuest')
    }
    Write-Output 'ConfigDriveGuest is removed.'
    return
}

$manifest = Import-PowerShellDataFile -LiteralPath (Join-Path $PSScriptRoot 'ConfigDriveGuest\ConfigDriveGuest.psd1')
$version = $manifest.ModuleVersion
$target = Join-Path $modules $version
New-Item -ItemType Directory -Path $target -Force | Out-Null
Copy-Item -Path (Join-Path $PSScriptRoot 'ConfigDriveGuest\*') -Destination $target
Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'Start-ConfigDriveGuest.ps1') -Destination $target
# What came from the network asks before it is run.
Get-ChildItem -LiteralPath $target | Unblock-File

# The module itself makes the directory, so that it has one set of rights wherever it came from.
$module = Import-Module (Join-Path $target 'ConfigDriveGuest.psd1') -Force -PassThru
& $module { Initialize-GuestHome }
$settings = Join-Path $homeDirectory 'settings.psd1'
if (-not (Test-Path -LiteralPath $settings)) {
    Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'settings.psd1') -Destination $settings
}
if ($Forget) { & $module { Clear-GuestState } }

$program = Join-Path $env:SystemRoot 'System32\WindowsPowerShell\v1.0\powershell.exe'
$start = Join-Path $target 'Start-ConfigDriveGuest.ps1'
$action = New-ScheduledTaskAction -Execute $program `
    -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$start`""
$triggers = @(
    (New-ScheduledTaskTrigger -AtStartup),
    (New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval (New-TimeSpan -Minutes $Minutes))
)
# No limit of time: user data may take long. A run beside one whose user data hang sets a new password.
$taskSettings = New-ScheduledTaskSettingsSet -StartWhenAvailable -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `
    -MultipleInstances Parallel -ExecutionTimeLimit (New-TimeSpan -Seconds 0)
$account = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
Register-ScheduledTask -TaskName $taskName -Action $action -Trigger $triggers -Settings $taskSettings `
    -Principal $account -Description 'Applies the config drive: password, ssh keys, user data.' | Out-Null
Write-Output "ConfigDriveGuest $version is installed; it runs at the next start. Settings: $settings"

# What the scheduled task runs. Its exit code is the task's last result.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'ConfigDriveGuest.psd1')
exit (Invoke-ConfigDriveGuest)

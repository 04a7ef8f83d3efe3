@{
    RootModule           = 'ConfigDriveGuest.psm1'
    ModuleVersion        = '0.1.0'
    GUID                 = '5b1d7c0e-8a4f-4d0b-9c36-2f7e1a60d9b4'
    Author               = 'configdrive-fleet'
    Copyright            = 'Apache-2.0'
    Description          = 'Takes what a VM is told on its config drive: password, ssh keys and user data.'
    PowerShellVersion    = '5.1'
    CompatiblePSEditions = @('Desktop', 'Core')
    FunctionsToExport    = @('Invoke-ConfigDriveGuest', 'Get-ConfigDriveGuestData', 'Get-ConfigDriveGuestStatus')
    CmdletsToExport      = @()
    VariablesToExport    = @()
    AliasesToExport      = @()
}

# The settings: %ProgramData%\ConfigDriveGuest\settings.psd1, which is read as data and never executed.

function Get-GuestSettings {
    $settings = @{
        Label        = 'config'
        PasswordUser = ''
        SshKeys      = 'yes'
        UserData     = 'auto'
        Wait         = 60
    }
    $path = Join-Path $script:HomeDirectory 'settings.psd1'
    if (Test-Path -LiteralPath $path) {
        try {
            $given = Import-PowerShellDataFile -LiteralPath $path
        } catch {
            throw (New-GuestProblem -Code 'Usage' -Message "$path cannot be read: $($_.Exception.Message)")
        }
        foreach ($key in $given.Keys) {
            if (-not $settings.ContainsKey($key)) {
                throw (New-GuestProblem -Code 'Usage' -Message "${path}: there is no setting $key")
            }
            $settings[$key] = $given[$key]
        }
    }
    Test-GuestSettings -Settings $settings -Path $path
    return $settings
}

function Test-GuestSettings {
    param([hashtable] $Settings, [string] $Path)
    $problem = ''
    if ($Settings.Label -notmatch '^[A-Za-z0-9._-]{1,16}$') {
        $problem = "Label has 1 to 16 letters, digits, '.', '_' and '-'"
    } elseif ($Settings.PasswordUser -match '["/\\\[\]:;|=,+*?<>@\x00-\x1f]') {
        $problem = 'PasswordUser is not the name of a local user'
    } elseif ($Settings.SshKeys -notin 'yes', 'no') {
        $problem = 'SshKeys is yes or no'
    } elseif ($Settings.UserData -notin 'auto', 'yes', 'no') {
        $problem = 'UserData is auto, yes or no'
    } elseif ($Settings.Wait -isnot [int] -or $Settings.Wait -lt 0 -or $Settings.Wait -gt 3600) {
        $problem = 'Wait is a number of seconds, 3600 at most'
    }
    if ($problem) { throw (New-GuestProblem -Code 'Usage' -Message "${Path}: $problem") }
}

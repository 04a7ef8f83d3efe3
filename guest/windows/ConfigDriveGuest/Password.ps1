# The password: set once for each new one.

# NetUserSetInfo's answers, as ADSI reports them (HRESULT_FROM_WIN32): NERR_PasswordTooShort, by which Windows means any
# breach of its password policy, and ERROR_PASSWORD_RESTRICTION.
$script:PolicyErrors = @(0x8C5, 0x52D)

# The built-in administrator has the relative id 500 whatever it is called.
function Get-GuestUserName {
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string] $Configured)
    if ($Configured) { return $Configured }
    $accounts = Get-CimInstance -ClassName Win32_UserAccount -Filter 'LocalAccount = TRUE'
    foreach ($account in $accounts) {
        if ($account.SID -like 'S-1-5-21-*-500') { return $account.Name }
    }
    throw 'there is no built-in administrator'
}

# Returns why a password is not one line of printable text, or nothing.
function Test-GuestPassword {
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string] $Password)
    foreach ($character in $Password.ToCharArray()) {
        if ([char]::IsControl($character)) { return 'the password is not one line of printable text, and not set' }
    }
}

function Set-GuestPassword {
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][byte[]] $Bytes,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Instance,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Configured
    )
    try {
        $password = (ConvertFrom-GuestBytes -Bytes $Bytes) -replace '\r?\n\z', ''
    } catch {
        Write-GuestFailure -Name 'PasswordMalformed' -Message 'the password is not UTF-8, and not set'
        return
    }
    if ($password.Length -eq 0) { return }
    $problem = Test-GuestPassword -Password $password
    if ($problem) {
        Write-GuestFailure -Name 'PasswordMalformed' -Message $problem
        return
    }
    try {
        $user = Get-GuestUserName -Configured $Configured
    } catch {
        Write-GuestFailure -Name 'PasswordFailed' -Message 'no local user was found whose password to set'
        return
    }
    if (Test-GuestApplied -Kind 'password' -Instance $Instance -Bytes $Bytes) {
        Write-GuestEvent -Name 'PasswordWasSet' -Message "the password of $user was set before"
        return
    }
    $refusal = Invoke-GuestPasswordChange -User $user -Password $password
    if ($null -eq $refusal) {
        Set-GuestApplied -Kind 'password' -Instance $Instance -Bytes $Bytes
        Write-GuestEvent -Name 'PasswordSet' -Message "the password of $user is set"
    } elseif ($refusal -in $script:PolicyErrors) {
        $message = "the password of $user was refused by this machine's password policy (length, complexity, history or age)"
        Write-GuestFailure -Name 'PasswordPolicy' -Message $message
    } else {
        $message = 'the password of {0} could not be set: error 0x{1:X}' -f $user, $refusal
        Write-GuestFailure -Name 'PasswordFailed' -Message $message
    }
}

# Returns nothing, or the Windows error. Only its number: an exception's text could show what it was called with.
# Not Set-LocalUser: its module does not load in every PowerShell 7.
function Invoke-GuestPasswordChange {
    param(
        [Parameter(Mandatory = $true)][string] $User,
        [Parameter(Mandatory = $true)][string] $Password
    )
    try {
        $account = [ADSI]"WinNT://$env:COMPUTERNAME/$User,user"
        $account.psbase.Invoke('SetPassword', [object[]]@($Password)) | Out-Null
    } catch {
        $exception = $_.Exception
        while ($exception.InnerException) { $exception = $exception.InnerException }
        return $exception.HResult -band 0xFFFF
    }
}

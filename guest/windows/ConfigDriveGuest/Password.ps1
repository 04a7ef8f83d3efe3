# The password: set once for each new one.

# NetUserSetInfo's answers, as ADSI reports them (HRESULT_FROM_WIN32): NERR_PasswordTooShort, by which Windows means any
# breach of its password policy, and ERROR_PASSWORD_RESTRICTION.
$script:PolicyErrors = @(0x8C5, 0x52D)

# Returns the user in the settings, or the built-in administrator.
function Get-GuestUserName {
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string] $Configured)
    if ($Configured) { return $Configured }
    $name = Get-GuestAdministrator
    if (-not $name) { throw 'there is no built-in administrator' }
    return $name
}

# Returns @{ Text = ... } when the content is one line of printable UTF-8, or nothing.
function ConvertTo-GuestPassword {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    try {
        $text = $script:Utf8.GetString($Content.Bytes) -replace '\r?\n\z', ''
    } catch {
        return
    }
    foreach ($character in $text.ToCharArray()) {
        if ([char]::IsControl($character)) { return }
    }
    return @{ Text = $text }
}

function Set-GuestPassword {
    param(
        [Parameter(Mandatory = $true)][hashtable] $Content,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Instance,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string] $Configured
    )
    $password = ConvertTo-GuestPassword -Content $Content
    if ($null -eq $password) {
        $message = 'the password is not one line of printable text, and not set'
        Write-GuestFailure -Name 'PasswordMalformed' -Message $message
        return
    }
    if ($password.Text.Length -eq 0) { return }
    try {
        $user = Get-GuestUserName -Configured $Configured
    } catch {
        Write-GuestFailure -Name 'PasswordFailed' -Message 'there is no built-in administrator whose password to set'
        return
    }
    if (Test-GuestApplied -Kind "password:$user" -Instance $Instance -Content $Content) {
        Write-Verbose "the password of $user was set before"
        return
    }
    # The policy may be another one at the next boot, but is not asked every few minutes until then.
    $thisBoot = "$Instance $(Get-GuestBoot)"
    if (Test-GuestApplied -Kind "refused:$user" -Instance $thisBoot -Content $Content) {
        $script:Outcome = $script:ExitCode.Failed
        return
    }
    $refusal = Invoke-GuestPasswordChange -User $user -Password $password
    if ($null -eq $refusal) {
        Set-GuestApplied -Kind "password:$user" -Instance $Instance -Content $Content
        Write-GuestEvent -Name 'PasswordSet' -Message "the password of $user is set"
    } elseif ($refusal -in $script:PolicyErrors) {
        Set-GuestApplied -Kind "refused:$user" -Instance $thisBoot -Content $Content
        $message = "the password of $user was refused by the password policy (length, complexity, history or age)"
        Write-GuestFailure -Name 'PasswordPolicy' -Message $message
    } else {
        $message = 'the password of {0} could not be set: error 0x{1:X}' -f $user, $refusal
        Write-GuestFailure -Name 'PasswordFailed' -Message $message
    }
}

# The ssh keys: those of all administrators, as OpenSSH for Windows has them. The keys of other users would have to be
# written, as SYSTEM, into directories that those users control.

$script:KeyPattern = '(?:^|\s)((?:ssh-|ecdsa-sha2-|sk-)[A-Za-z0-9@.-]+ +AAAA[A-Za-z0-9+/]+=*)(?:\s|$)'

# Returns what makes two lines the same key, or nothing when the line has none.
function Get-GuestKey {
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string] $Line)
    if ($Line -notmatch '^\s*#' -and $Line -cmatch $script:KeyPattern) { return $Matches[1] -replace ' +', ' ' }
}

# Returns the lines that there shall be: those that are there, then what is new.
function Merge-GuestKeys {
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][AllowEmptyString()][string[]] $There,
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][AllowEmptyString()][string[]] $New
    )
    $seen = New-Object 'System.Collections.Generic.HashSet[string]'
    foreach ($line in $There) {
        $key = Get-GuestKey -Line $line
        if ($key) { $seen.Add($key) | Out-Null }
        $line
    }
    foreach ($line in $New) {
        $key = Get-GuestKey -Line $line
        if ($key -and $seen.Add($key)) { $line.Trim() }
    }
}

function Set-GuestSshKeys {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $directory = Join-Path $env:ProgramData 'ssh'
    if (-not (Test-Path -LiteralPath $directory -PathType Container)) {
        Write-GuestEvent -Name 'SshKeysLeft' -Message 'OpenSSH Server is not installed: the ssh keys are left alone'
        return
    }
    $path = Join-Path $directory 'administrators_authorized_keys'
    try {
        $there = @()
        if (Test-Path -LiteralPath $path) { $there = @([System.IO.File]::ReadAllLines($path)) }
        $new = @($script:Utf8.GetString($Content.Bytes) -split '[\r\n]+')
        $merged = @(Merge-GuestKeys -There $there -New $new)
        if ($merged.Count -gt $there.Count) {
            # Made empty and protected first, so that nobody reads or changes it meanwhile.
            [System.IO.File]::WriteAllText("$path.new", '')
            Protect-GuestPath -Path "$path.new"
            [System.IO.File]::WriteAllLines("$path.new", [string[]]$merged)
            Move-Item -LiteralPath "$path.new" -Destination $path -Force
            $added = $merged.Count - $there.Count
            Write-GuestEvent -Name 'SshKeys' -Message "ssh keys of the administrators: $added new"
        }
    } catch {
        $kind = $_.Exception.GetType().Name
        Write-GuestFailure -Name 'SshKeysFailed' -Message "the ssh keys could not be written to ${path}: $kind"
    }
}

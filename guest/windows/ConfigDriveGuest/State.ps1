# What was applied last, so that it is not applied again: a salt and a hash of each, readable by SYSTEM and
# administrators only. The hash is of this VM's own: a template that was made of a VM has that VM's, which do not count.

# Any user may make a directory in %ProgramData%: one that is not ours is not used.
function Initialize-GuestHome {
    if (-not (Test-Path -LiteralPath $script:HomeDirectory)) {
        New-Item -ItemType Directory -Path $script:HomeDirectory | Out-Null
    } else {
        $attributes = (Get-Item -LiteralPath $script:HomeDirectory -Force).Attributes
        $isLink = $attributes -band [System.IO.FileAttributes]::ReparsePoint
        $acl = Get-Acl -LiteralPath $script:HomeDirectory
        $owner = $acl.GetOwner([System.Security.Principal.SecurityIdentifier]).Value
        if ($isLink -or $owner -notin 'S-1-5-32-544', 'S-1-5-18') {
            $message = "$script:HomeDirectory is a link, or somebody else's; remove it and install again"
            throw (New-GuestProblem -Code 'Usage' -Message $message)
        }
    }
    Protect-GuestPath -Path $script:HomeDirectory
}

function Get-GuestDigest {
    param([string] $Salt, [string] $Instance, [hashtable] $Content)
    $sha = [System.Security.Cryptography.SHA256]::Create()
    try {
        $head = [System.Text.Encoding]::UTF8.GetBytes("$Salt $Instance`n")
        $sha.TransformBlock($head, 0, $head.Length, $null, 0) | Out-Null
        $sha.TransformFinalBlock($Content.Bytes, 0, $Content.Bytes.Length) | Out-Null
        return [System.BitConverter]::ToString($sha.Hash)
    } finally {
        $sha.Dispose()
    }
}

# A file that is damaged counts as none: what is on the drive is then applied again.
function Read-GuestState {
    $state = @{}
    $path = Join-Path $script:HomeDirectory 'applied.json'
    try {
        $document = [System.IO.File]::ReadAllText($path) | ConvertFrom-Json
        foreach ($property in $document.PSObject.Properties) {
            $state[$property.Name] = @{ salt = [string]$property.Value.salt; digest = [string]$property.Value.digest }
        }
    } catch {
        $state = @{}
    }
    return $state
}

function Test-GuestApplied {
    param([string] $Kind, [string] $Instance, [hashtable] $Content)
    $state = Read-GuestState
    if (-not $state.ContainsKey($Kind)) { return $false }
    $known = $state[$Kind]
    return $known.digest -ceq (Get-GuestDigest -Salt $known.salt -Instance $Instance -Content $Content)
}

function Set-GuestApplied {
    param([string] $Kind, [string] $Instance, [hashtable] $Content)
    $random = New-Object byte[] 16
    $generator = [System.Security.Cryptography.RandomNumberGenerator]::Create()
    try { $generator.GetBytes($random) } finally { $generator.Dispose() }
    $salt = [System.BitConverter]::ToString($random)
    $state = Read-GuestState
    $state[$Kind] = @{ salt = $salt; digest = (Get-GuestDigest -Salt $salt -Instance $Instance -Content $Content) }
    Write-GuestState -State $state
}

function Remove-GuestApplied {
    param([string] $Kind)
    $state = Read-GuestState
    if (-not $state.ContainsKey($Kind)) { return }
    $state.Remove($Kind)
    Write-GuestState -State $state
}

function Write-GuestState {
    param([hashtable] $State)
    $path = Join-Path $script:HomeDirectory 'applied.json'
    [System.IO.File]::WriteAllText("$path.new", (ConvertTo-Json -InputObject $State))
    Move-Item -LiteralPath "$path.new" -Destination $path -Force
}

# Takes away what a killed run has read from a disk, a password among it. What is younger, a person may be reading.
function Clear-GuestLeftover {
    $before = [DateTime]::UtcNow.AddHours(-1)
    Get-ChildItem -Path $script:HomeDirectory -Filter 'drive-*' | Where-Object { $_.CreationTimeUtc -lt $before } |
        Remove-Item -Recurse -Force
}

# Forgets what was applied to this VM and what it has left: a template must not have it.
function Clear-GuestState {
    foreach ($pattern in 'applied.json*', 'said.txt', 'user-data*', 'drive-*') {
        Get-ChildItem -Path $script:HomeDirectory -Filter $pattern | Remove-Item -Recurse -Force
    }
    $keys = Join-Path $env:ProgramData 'ssh\administrators_authorized_keys'
    if (Test-Path -LiteralPath $keys) { Remove-Item -LiteralPath $keys -Force }
}

# The drive: found by its label, read through Windows' own file system for CDs.

# The most that is taken, bytes. The fleet refuses drives above 64 MiB.
$script:Most = @{
    password   = 1KB
    'ssh-keys' = 1MB
    userdata   = 64MB
    network    = 1MB
    metadata   = 1MB
    document   = 64MB
    instance   = 256
}

# Where things are, the first that is there; metadata has a command of its own.
$script:Paths = @{
    password   = @('cloudstack\password\vm_password.txt')
    'ssh-keys' = @('cloudstack\metadata\public_keys.txt', 'cloudstack\metadata\public-keys.txt')
    userdata   = @('cloudstack\userdata\user_data.txt', 'openstack\latest\user_data')
    network    = @('openstack\latest\network_data.json')
    document   = @('openstack\latest\meta_data.json')
    instance   = @('cloudstack\metadata\instance_id.txt', 'cloudstack\metadata\instance-id.txt')
}

# Returns the roots of all drives with the label: of CDs, or else of what was read from disks (USB, a read-only disk).
function Find-GuestDrive {
    param([Parameter(Mandatory = $true)][string] $Label)
    $found = @(Get-GuestVolume | Where-Object { $_.Label -ieq $Label } | ForEach-Object { $_.Root })
    if ($found.Count -eq 0) {
        $found = @(Get-GuestDisk | ForEach-Object { Expand-GuestDisk -Path $_ -Label $Label })
    }
    return $found
}

# Takes away what was read from a disk.
function Close-GuestDrive {
    param([AllowEmptyString()][string] $Root)
    if ($Root -and $Root.StartsWith($script:HomeDirectory)) { Remove-Item -LiteralPath $Root -Recurse -Force }
}

function Open-GuestDrive {
    param([Parameter(Mandatory = $true)][string] $Label, [int] $Wait = 0)
    $until = [DateTime]::UtcNow.AddSeconds($Wait)
    $found = @(Find-GuestDrive -Label $Label)
    while ($found.Count -eq 0 -and [DateTime]::UtcNow -lt $until) {
        Start-Sleep -Seconds 1
        $found = @(Find-GuestDrive -Label $Label)
    }
    if ($found.Count -eq 0) {
        throw (New-GuestProblem -Code 'NoDrive' -Message "no drive with the label $Label")
    }
    if ($found.Count -gt 1) {
        foreach ($root in $found) { Close-GuestDrive -Root $root }
        $message = "several drives have the label ${Label}: $($found -join ', '); detach all but one"
        throw (New-GuestProblem -Code 'Ambiguous' -Message $message)
    }
    $root = $found[0]
    if (-not ((Test-Path -LiteralPath "${root}cloudstack") -or (Test-Path -LiteralPath "${root}openstack"))) {
        Close-GuestDrive -Root $root
        $message = "$root holds no config drive: it has neither cloudstack nor openstack"
        throw (New-GuestProblem -Code 'Unreadable' -Message $message)
    }
    return $root
}

# Returns the content of the first file that is there, or nothing. As @{ Bytes = ... }: where PowerShell's module
# logging is turned on, the values of all parameters are written to the event log, but not what is in a hash table.
function Read-GuestItem {
    param(
        [Parameter(Mandatory = $true)][string] $Root,
        [Parameter(Mandatory = $true)][string] $Item
    )
    foreach ($path in $script:Paths[$Item]) {
        $full = Join-Path $Root $path
        if (Test-Path -LiteralPath $full -PathType Leaf) { return Read-GuestFile -Path $full -Item $Item }
    }
}

function Read-GuestFile {
    param(
        [Parameter(Mandatory = $true)][string] $Path,
        [Parameter(Mandatory = $true)][string] $Item
    )
    try {
        $size = (New-Object System.IO.FileInfo($Path)).Length
        if ($size -le $script:Most[$Item]) { return @{ Bytes = [System.IO.File]::ReadAllBytes($Path) } }
    } catch {
        throw (New-GuestProblem -Code 'Unreadable' -Message "the $Item in $Path cannot be read")
    }
    $message = "the $Item in $Path is larger than $($script:Most[$Item]) bytes, and left alone"
    throw (New-GuestProblem -Code 'Unreadable' -Message $message)
}

# The drive's own text is UTF-8; what is not UTF-8 is refused, not guessed.
$script:Utf8 = New-Object System.Text.UTF8Encoding($false, $true)

# The image on a disk that is no CD: ISO 9660 (ECMA-119) with Joliet's names, read sector by sector.

$script:IsoSector = 2048
$script:IsoDeepest = 8
$script:IsoLargest = 1048576 # bytes of a directory

# Returns @{ Bytes = ... } of a disk, @{ Stream = ... }; fewer than asked for at its end.
function Read-GuestSector {
    param(
        [Parameter(Mandatory = $true)][hashtable] $Disk,
        [Parameter(Mandatory = $true)][long] $Sector,
        [Parameter(Mandatory = $true)][long] $Length
    )
    # A disk gives whole sectors only.
    $whole = [Math]::Ceiling($Length / $script:IsoSector) * $script:IsoSector
    $buffer = New-Object byte[] $whole
    [void]$Disk.Stream.Seek($Sector * $script:IsoSector, [System.IO.SeekOrigin]::Begin)
    $read = 0
    while ($read -lt $whole) {
        $more = $Disk.Stream.Read($buffer, $read, $whole - $read)
        if ($more -le 0) { break }
        $read += $more
    }
    $bytes = New-Object byte[] ([Math]::Min($read, $Length))
    [Array]::Copy($buffer, $bytes, $bytes.Length)
    return @{ Bytes = $bytes }
}

# Returns @{ Label; Sector; Length } of the root directory under Joliet, or nothing when this is no such image.
function Get-GuestIsoRoot {
    param([Parameter(Mandatory = $true)][hashtable] $Disk)
    $label = $null
    foreach ($number in 16..31) {
        $descriptor = Read-GuestSector -Disk $Disk -Sector $number -Length $script:IsoSector
        $content = $descriptor.Bytes
        if ($content.Length -lt $script:IsoSector) { return }
        if ([System.Text.Encoding]::ASCII.GetString($content, 1, 5) -cne 'CD001') { return }
        if ($content[0] -eq 255) { return }
        if ($content[0] -eq 1) { $label = [System.Text.Encoding]::ASCII.GetString($content, 40, 32).TrimEnd() }
        # Joliet's escape sequences are %/@, %/C and %/E.
        $isJoliet = $content[0] -eq 2 -and $content[88] -eq 0x25 -and $content[89] -eq 0x2F
        if ($isJoliet -and $null -ne $label) {
            return @{
                Label  = $label
                Sector = [System.BitConverter]::ToUInt32($content, 158)
                Length = [System.BitConverter]::ToUInt32($content, 166)
            }
        }
    }
}

# Returns @{ Name; Sector; Length; IsDirectory } of each entry in a directory's bytes.
function Get-GuestIsoEntry {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $bytes = $Content.Bytes
    $at = 0
    while ($at -lt $bytes.Length) {
        $size = $bytes[$at]
        if ($size -eq 0) {
            # The rest of a sector is empty.
            $at = ([Math]::Floor($at / $script:IsoSector) + 1) * $script:IsoSector
            continue
        }
        if ($size -lt 34 -or $at + $size -gt $bytes.Length) { return }
        $nameLength = $bytes[$at + 32]
        if ($nameLength -gt 1 -and 33 + $nameLength -le $size) {
            $name = [System.Text.Encoding]::BigEndianUnicode.GetString($bytes, $at + 33, $nameLength)
            @{
                Name        = $name -replace ';1$', ''
                Sector      = [System.BitConverter]::ToUInt32($bytes, $at + 2)
                Length      = [System.BitConverter]::ToUInt32($bytes, $at + 10)
                IsDirectory = ($bytes[$at + 25] -band 2) -ne 0
            }
        }
        $at += $size
    }
}

# Copies cloudstack and openstack into a directory, which nobody else may look into.
function Copy-GuestIso {
    param(
        [Parameter(Mandatory = $true)][hashtable] $Disk,
        [Parameter(Mandatory = $true)][hashtable] $Directory,
        [Parameter(Mandatory = $true)][string] $Target,
        [int] $Depth = 0
    )
    if ($Depth -gt $script:IsoDeepest -or $Directory.Length -gt $script:IsoLargest) { return }
    $listing = Read-GuestSector -Disk $Disk -Sector $Directory.Sector -Length $Directory.Length
    foreach ($entry in @(Get-GuestIsoEntry -Content $listing)) {
        if ($entry.Name -notmatch '^[A-Za-z0-9._-]+$' -or $entry.Name -in '.', '..') { continue }
        if ($Depth -eq 0 -and $entry.Name -notin 'cloudstack', 'openstack') { continue }
        $path = Join-Path $Target $entry.Name
        if ($entry.IsDirectory) {
            New-Item -ItemType Directory -Path $path -Force | Out-Null
            Copy-GuestIso -Disk $Disk -Directory $entry -Target $path -Depth ($Depth + 1)
        } elseif ($entry.Length -le $script:Most.userdata) {
            $file = Read-GuestSector -Disk $Disk -Sector $entry.Sector -Length $entry.Length
            [System.IO.File]::WriteAllBytes($path, $file.Bytes)
        }
    }
}

# Returns a directory with what is on the disk of this label, or nothing. Whoever asks takes it away (Close-GuestDrive).
function Expand-GuestDisk {
    param([Parameter(Mandatory = $true)][string] $Path, [Parameter(Mandatory = $true)][string] $Label)
    $disk = Open-GuestDisk -Path $Path
    if ($null -eq $disk) { return }
    try {
        $directory = Get-GuestIsoRoot -Disk $disk
        if ($null -eq $directory -or $directory.Label -ine $Label) { return }
        $target = Join-Path $script:HomeDirectory "drive-$([Guid]::NewGuid().ToString('N'))"
        New-Item -ItemType Directory -Path $target | Out-Null
        Copy-GuestIso -Disk $disk -Directory $directory -Target $target
        return "$target\"
    } catch {
        Write-Verbose "$Path cannot be read"
    } finally {
        $disk.Stream.Dispose()
    }
}

# The scripts in user data: as they are, gzipped, in MIME parts, or in EC2's tags; marked as cloudbase-init wants them.

$script:PowerShellPattern = '^#(ps1|ps1_sysnative)\s'
$script:PowerShellX86Pattern = '^#ps1_x86\s'
$script:CmdPattern = '^rem\s+cmd\s'
$script:Tags = @{ powershell = 'ps1'; script = 'cmd' }
$script:DeepestPart = 4

# One character for each byte, and back.
$script:Latin1 = [System.Text.Encoding]::GetEncoding(28591)

function Test-GuestByteOrderMark {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $bytes = $Content.Bytes
    return $bytes.Length -ge 3 -and $bytes[0] -eq 0xEF -and $bytes[1] -eq 0xBB -and $bytes[2] -eq 0xBF
}

function Test-GuestUtf8 {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    try {
        return $script:Utf8.GetCharCount($Content.Bytes) -ge 0
    } catch {
        return $false
    }
}

# Returns 'ps1', 'ps1_x86', 'cmd', or nothing; by its first line, or by the name that a MIME part gives it.
function Get-GuestScriptKind {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $offset = 0
    if (Test-GuestByteOrderMark -Content $Content) { $offset = 3 }
    $length = [Math]::Min(64, $Content.Bytes.Length - $offset)
    $beginning = [System.Text.Encoding]::ASCII.GetString($Content.Bytes, $offset, $length)
    if ($beginning -cmatch $script:PowerShellPattern) { return 'ps1' }
    if ($beginning -cmatch $script:PowerShellX86Pattern) { return 'ps1_x86' }
    if ($beginning -cmatch $script:CmdPattern) { return 'cmd' }
    if (-not $Content.ContainsKey('Name')) { return }
    if ($Content.Name -match '\.ps1$') { return 'ps1' }
    if ($Content.Name -match '\.(cmd|bat)$') { return 'cmd' }
}

# Returns the content unpacked when it is gzipped, and as it is otherwise. At most as much as user data may be.
function Expand-GuestGzip {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $packed = $Content.Bytes
    if ($packed.Length -lt 2 -or $packed[0] -ne 0x1F -or $packed[1] -ne 0x8B) { return $Content }
    $from = New-Object System.IO.MemoryStream(, $packed)
    $unzip = New-Object System.IO.Compression.GZipStream($from, [System.IO.Compression.CompressionMode]::Decompress)
    $to = New-Object System.IO.MemoryStream
    try {
        $buffer = New-Object byte[] 65536
        while (($read = $unzip.Read($buffer, 0, $buffer.Length)) -gt 0) {
            $to.Write($buffer, 0, $read)
            if ($to.Length -gt $script:Most.userdata) { throw 'unpacked, it is too large' }
        }
        $unpacked = $Content.Clone()
        $unpacked.Bytes = $to.ToArray()
        return $unpacked
    } finally {
        $unzip.Dispose()
        $to.Dispose()
    }
}

# Returns @{ Headers = @{ name = value }; Body = text }, or nothing when it does not begin with headers.
function Split-GuestHeader {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $whole = $script:Latin1.GetString($Content.Bytes)
    $found = [regex]::Match($whole, '\A(?:[A-Za-z-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+\r?\n')
    if (-not $found.Success) { return }
    $headers = @{}
    foreach ($line in ($found.Value -replace '\r?\n[ \t]+', ' ') -split '\r?\n') {
        $name, $value = $line -split ':', 2
        if ($null -ne $value) { $headers[$name.ToLowerInvariant()] = $value.Trim() }
    }
    return @{ Headers = $headers; Body = $whole.Substring($found.Length) }
}

# Returns the parts of a MIME multipart, as @{ Bytes; Name }; nothing when it is none.
function Split-GuestMime {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $message = Split-GuestHeader -Content $Content
    if ($null -eq $message) { return }
    $isMultipart = "$($message.Headers['content-type'])" -match '^multipart/[^;]*;.*?boundary="?([^";]+)"?'
    if (-not $isMultipart) { return }
    $mark = [regex]::Escape($Matches[1].Trim())
    $pieces = @([regex]::Split("`n" + $message.Body, "\r?\n--$mark(?:--)?[ \t]*(?=\r?\n|\z)"))
    for ($index = 1; $index -lt $pieces.Count; $index++) {
        $piece = @{ Bytes = $script:Latin1.GetBytes(($pieces[$index] -replace '\A\r?\n', '')) }
        $part = Split-GuestHeader -Content $piece
        if ($null -eq $part) { continue }
        if ("$($part.Headers['content-type'])" -match '^multipart/') {
            $piece
            continue
        }
        $name = ''
        if ("$($part.Headers['content-disposition'])" -match 'filename="?([^";]+)"?') { $name = $Matches[1] }
        $bytes = $script:Latin1.GetBytes($part.Body)
        if ("$($part.Headers['content-transfer-encoding'])" -ieq 'base64') {
            $bytes = [Convert]::FromBase64String(($part.Body -replace '\s', ''))
        }
        @{ Bytes = $bytes; Name = $name }
    }
}

# Returns what stands in EC2's tags, <powershell> and <script>, in the order of the text.
function Split-GuestTag {
    param([Parameter(Mandatory = $true)][hashtable] $Content)
    $whole = $script:Latin1.GetString($Content.Bytes)
    foreach ($found in [regex]::Matches($whole, '(?is)<(powershell|script)>(.*?)</\1>')) {
        $kind = $script:Tags[$found.Groups[1].Value.ToLowerInvariant()]
        @{ Kind = $kind; Bytes = $script:Latin1.GetBytes($found.Groups[2].Value.Trim()) }
    }
}

# Returns all scripts in it, each as @{ Kind; Bytes }, in their order.
function Get-GuestScript {
    param([Parameter(Mandatory = $true)][hashtable] $Content, [int] $Depth = 0)
    if ($Depth -gt $script:DeepestPart) { return }
    $plain = Expand-GuestGzip -Content $Content
    $parts = @(Split-GuestMime -Content $plain)
    if ($parts.Count -gt 0) {
        foreach ($part in $parts) { Get-GuestScript -Content $part -Depth ($Depth + 1) }
        return
    }
    $kind = Get-GuestScriptKind -Content $plain
    if ($kind) {
        @{ Kind = $kind; Bytes = $plain.Bytes }
        return
    }
    Split-GuestTag -Content $plain
}

# Returns what a script's exit code asks for, as cloudbase-init has it: @{ Failed; Again; Restart }.
function Get-GuestWish {
    param([Parameter(Mandatory = $true)][int] $Code)
    return @{
        Failed  = $Code -notin 0, 1001, 1002, 1003
        Again   = $Code -in 1002, 1003
        Restart = $Code -in 1001, 1003
    }
}

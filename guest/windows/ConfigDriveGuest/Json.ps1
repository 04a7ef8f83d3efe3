# One string out of a JSON document: ConvertFrom-Json of Windows PowerShell refuses keys that differ in case only.

# Returns the string under a key at the top of the document, its escapes as they are, or nothing.
function Get-GuestJsonString {
    param([Parameter(Mandatory = $true)][hashtable] $Content, [Parameter(Mandatory = $true)][string] $Name)
    $document = [System.Text.Encoding]::UTF8.GetString($Content.Bytes)
    $depth = 0
    $key = $null
    $isValue = $false
    foreach ($token in [regex]::Matches($document, '"(?:[^"\\]|\\.)*"|[{}\[\]:,]', 'Singleline')) {
        switch ($token.Value) {
            { $_ -in '{', '[' } { $depth++; break }
            { $_ -in '}', ']' } { $depth--; break }
            ':' { $isValue = $true; break }
            ',' { $isValue = $false; break }
            default {
                $string = $_.Substring(1, $_.Length - 2)
                if ($depth -ne 1) { break }
                if (-not $isValue) { $key = $string; break }
                if ($key -ceq $Name) { return $string }
            }
        }
    }
}

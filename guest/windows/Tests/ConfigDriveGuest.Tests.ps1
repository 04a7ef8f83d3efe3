# Pester 5 tests of the module; docs/how-to/guest-windows.md says how to run them. They change nothing: what touches
# Windows is replaced, and the module's directory is Pester's own.

BeforeAll {
    Import-Module (Join-Path $PSScriptRoot '..\ConfigDriveGuest\ConfigDriveGuest.psd1') -Force
}

Describe 'the drive' {
    It 'is found on a disk that is no CD, and read from its sectors' {
        InModuleScope ConfigDriveGuest -Parameters @{ Drive = $TestDrive; Image = $env:DRIVE_IMAGE } {
            param($Drive, $Image)
            if (-not $Image) { Set-ItResult -Skipped -Because 'DRIVE_IMAGE names no image of the fleet' }
            $script:HomeDirectory = "$Drive"
            Mock Get-GuestVolume { return }
            Mock Get-GuestDisk { $Image }
            $root = Open-GuestDrive -Label 'config'
            $content = Read-GuestItem -Root $root -Item 'document'
            Get-GuestJsonString -Content $content -Name 'uuid' | Should -Match '^[0-9a-f-]{36}$'
            Close-GuestDrive -Root $root
            Test-Path -LiteralPath $root | Should -BeFalse
        }
    }

    It 'is none where a disk has something else' {
        InModuleScope ConfigDriveGuest {
            $disk = @{ Stream = New-Object System.IO.MemoryStream(, (New-Object byte[] 65536)) }
            Get-GuestIsoRoot -Disk $disk | Should -BeNullOrEmpty
        }
    }

    It 'that is missing is no error in the event log' {
        InModuleScope ConfigDriveGuest {
            $script:EventId.NoDrive | Should -BeLessThan 100
        }
    }
}

Describe 'whose drive it is' {
    It 'says the uuid at the top of the document: <Json>' -ForEach @(
        @{ Json = '{"meta": {"uuid": "no"}, "uuid": "yes"}' }
        @{ Json = '{"uuid": "yes", "meta": {"uuid": "no"}}' }
        @{ Json = '{"a": "x\"uuid\": \"no", "l": [{"uuid": "no"}], "A": 1, "uuid": "yes"}' }
    ) {
        InModuleScope ConfigDriveGuest -Parameters @{ Json = $Json } {
            param($Json)
            $content = @{ Bytes = [System.Text.Encoding]::UTF8.GetBytes($Json) }
            Get-GuestJsonString -Content $content -Name 'uuid' | Should -BeExactly 'yes'
        }
    }
}

Describe 'what was applied' {
    BeforeEach {
        InModuleScope ConfigDriveGuest -Parameters @{ Drive = $TestDrive } {
            param($Drive)
            $script:HomeDirectory = Join-Path $Drive ([Guid]::NewGuid())
            New-Item -ItemType Directory -Path $script:HomeDirectory
            Mock Write-GuestEvent { return }
            Mock Get-GuestBoot { 'this boot' }
            Mock Get-GuestAdministrator { 'Administrator' }
            Mock Invoke-GuestPasswordChange { return }
        }
    }

    It 'counts for one VM: a clone has another uuid' {
        InModuleScope ConfigDriveGuest {
            $content = @{ Bytes = [byte[]](1, 2, 3) }
            Set-GuestApplied -Kind 'userdata' -Instance 'one' -Content $content
            Test-GuestApplied -Kind 'userdata' -Instance 'one' -Content $content | Should -BeTrue
            Test-GuestApplied -Kind 'userdata' -Instance 'two' -Content $content | Should -BeFalse
        }
    }

    It 'counts for one user' {
        InModuleScope ConfigDriveGuest {
            $content = @{ Bytes = [System.Text.Encoding]::UTF8.GetBytes('swordfish') }
            Set-GuestPassword -Content $content -Instance 'one' -Configured ''
            Set-GuestPassword -Content $content -Instance 'one' -Configured ''
            Set-GuestPassword -Content $content -Instance 'one' -Configured 'alice'
            Should -Invoke Invoke-GuestPasswordChange -Times 2 -Exactly
        }
    }

    It 'is forgotten only by the switch, and then all of it' {
        InModuleScope ConfigDriveGuest -Parameters @{ Drive = $TestDrive } {
            param($Drive)
            $env:ProgramData = "$Drive"
            New-Item -ItemType Directory -Path (Join-Path $Drive 'ssh') -Force
            $keys = Join-Path $Drive 'ssh\administrators_authorized_keys'
            New-Item -ItemType File -Path $keys
            foreach ($name in 'applied.json', 'said.txt', 'user-data-1.ps1', 'user-data-1.log', 'settings.psd1') {
                New-Item -ItemType File -Path (Join-Path $script:HomeDirectory $name)
            }
            Clear-GuestState
            (Get-ChildItem -LiteralPath $script:HomeDirectory).Name | Should -Be 'settings.psd1'
            Test-Path -LiteralPath $keys | Should -BeFalse
        }
    }

    It 'needs no WMI: the password is set all the same' {
        InModuleScope ConfigDriveGuest {
            Mock Get-CimInstance { throw 'WMI is broken' }
            $content = @{ Bytes = [System.Text.Encoding]::UTF8.GetBytes('swordfish') }
            { Set-GuestPassword -Content $content -Instance 'one' -Configured '' } | Should -Not -Throw
            Should -Invoke Invoke-GuestPasswordChange -Times 1 -Exactly
        }
    }
}

Describe 'a run beside another' {
    BeforeEach {
        InModuleScope ConfigDriveGuest -Parameters @{ Drive = $TestDrive } {
            param($Drive)
            $script:HomeDirectory = Join-Path $Drive ([Guid]::NewGuid())
            New-Item -ItemType Directory -Path $script:HomeDirectory
            Mock Write-GuestEvent { return }
            Mock Get-GuestBoot { 'this boot' }
            Mock Test-GuestService { $false }
        }
    }

    It 'executes no user data while other user data is being executed, and then once' {
        InModuleScope ConfigDriveGuest {
            $settings = @{ UserData = 'yes'; Label = 'config' }
            $one = @{ Bytes = [System.Text.Encoding]::ASCII.GetBytes("rem cmd`ndir") }
            $other = @{ Bytes = [System.Text.Encoding]::ASCII.GetBytes("rem cmd`nver") }
            $first = Save-GuestUserData -Content $one -Instance 'one' -Settings $settings
            Save-GuestUserData -Content $other -Instance 'one' -Settings $settings | Should -BeNullOrEmpty
            $first.Held.Dispose()
            $second = Save-GuestUserData -Content $other -Instance 'one' -Settings $settings
            $second.Scripts.Count | Should -Be 1
            $second.Held.Dispose()
            Save-GuestUserData -Content $other -Instance 'one' -Settings $settings | Should -BeNullOrEmpty
        }
    }

    It 'keeps what the other notes: user data that is to be executed again forgets no other' {
        InModuleScope ConfigDriveGuest {
            $one = @{ Bytes = [byte[]](1, 2, 3) }
            $newer = @{ Bytes = [byte[]](4, 5, 6) }
            Set-GuestApplied -Kind 'userdata' -Instance 'one' -Content $newer
            Set-GuestAgain -Prepared @{ Content = $one; Instance = 'one' }
            Test-GuestApplied -Kind 'userdata' -Instance 'one' -Content $newer | Should -BeTrue
            Test-GuestApplied -Kind 'again' -Instance 'one this boot' -Content $one | Should -BeTrue
        }
    }

    It 'takes away what a killed one has read from a disk' {
        InModuleScope ConfigDriveGuest {
            $old = New-Item -ItemType Directory -Path (Join-Path $script:HomeDirectory 'drive-old')
            $old.CreationTimeUtc = [DateTime]::UtcNow.AddHours(-2)
            New-Item -ItemType Directory -Path (Join-Path $script:HomeDirectory 'drive-new')
            Clear-GuestLeftover
            (Get-ChildItem -LiteralPath $script:HomeDirectory).Name | Should -Be 'drive-new'
        }
    }
}

Describe 'the time' {
    It 'is not come while Windows is being set up' {
        InModuleScope ConfigDriveGuest {
            Mock Initialize-GuestHome { return }
            Mock Write-GuestEvent { return }
            Mock Test-GuestSetup { $true }
            Mock Open-GuestDrive { throw 'too early' }
            Invoke-ConfigDriveGuest | Should -Be 0
            Should -Invoke Open-GuestDrive -Times 0 -Exactly
        }
    }

    It 'does not stand still when user data hang: they are executed without the lock' {
        InModuleScope ConfigDriveGuest -Parameters @{ Drive = $TestDrive } {
            param($Drive)
            $script:HomeDirectory = "$Drive"
            Mock Initialize-GuestHome { return }
            Mock Test-GuestSetup { $false }
            Mock Get-GuestSettings { @{ Label = 'config' } }
            Mock Invoke-GuestApply { @{ Scripts = @() } }
            Mock Invoke-GuestUserData {
                $lock = Enter-GuestLock
                $lock.Dispose()
            }
            $script:LockSeconds = 1
            Invoke-ConfigDriveGuest | Should -Be 0
        }
    }
}

Describe 'the scripts in user data' {
    BeforeAll {
        $plain = "#ps1`nGet-Date`n"
        $packed = New-Object System.IO.MemoryStream
        $zip = New-Object System.IO.Compression.GZipStream($packed, [System.IO.Compression.CompressionMode]::Compress)
        $zip.Write([System.Text.Encoding]::ASCII.GetBytes($plain), 0, $plain.Length)
        $zip.Dispose()
        $encoded = [Convert]::ToBase64String([System.Text.Encoding]::ASCII.GetBytes($plain))
        $mime = @(
            'Content-Type: multipart/mixed; boundary="=="', 'MIME-Version: 1.0', '', '--=='
            'Content-Type: text/cloud-config', '', '#cloud-config', '--=='
            'Content-Type: text/x-shellscript', 'Content-Transfer-Encoding: base64', '', $encoded, '--=='
            'Content-Type: text/x-shellscript', 'Content-Disposition: attachment; filename="b.cmd"', '', 'dir', '--==--'
        ) -join [char]10
        $given = @{
            plain = [System.Text.Encoding]::ASCII.GetBytes($plain)
            gzip  = $packed.ToArray()
            mime  = [System.Text.Encoding]::ASCII.GetBytes($mime)
            tags  = [System.Text.Encoding]::ASCII.GetBytes("<script>dir</script>`n<powershell>Get-Date</powershell>")
            other = [System.Text.Encoding]::ASCII.GetBytes("#cloud-config`n")
        }
    }

    It 'are found: <Form>' -ForEach @(
        @{ Form = 'plain'; Kinds = @('ps1') }
        @{ Form = 'gzip'; Kinds = @('ps1') }
        @{ Form = 'mime'; Kinds = @('ps1', 'cmd') }
        @{ Form = 'tags'; Kinds = @('cmd', 'ps1') }
        @{ Form = 'other'; Kinds = @() }
    ) {
        InModuleScope ConfigDriveGuest -Parameters @{ Content = @{ Bytes = $given[$Form] }; Kinds = $Kinds } {
            param($Content, $Kinds)
            $scripts = @(Get-GuestScript -Content $Content)
            $scripts.Count | Should -Be $Kinds.Count
            for ($index = 0; $index -lt $Kinds.Count; $index++) { $scripts[$index].Kind | Should -Be $Kinds[$index] }
        }
    }

    It 'say by their exit code what shall be: <Code>' -ForEach @(
        @{ Code = 0; Failed = $false; Again = $false; Restart = $false }
        @{ Code = 1; Failed = $true; Again = $false; Restart = $false }
        @{ Code = 1001; Failed = $false; Again = $false; Restart = $true }
        @{ Code = 1002; Failed = $false; Again = $true; Restart = $false }
        @{ Code = 1003; Failed = $false; Again = $true; Restart = $true }
    ) {
        InModuleScope ConfigDriveGuest -Parameters @{ Case = $_ } {
            param($Case)
            $wish = Get-GuestWish -Code $Case.Code
            foreach ($name in 'Failed', 'Again', 'Restart') { $wish[$name] | Should -Be $Case[$name] }
        }
    }
}

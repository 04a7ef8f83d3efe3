"""The PowerShell that Windows guests get: it parses, keeps to what both PowerShells have, and keeps secrets."""

import re
from pathlib import Path
from typing import Final

import pytest

import configdrive
from tests.unit.guest.powershell import (
    MODULE,
    PESTER_TESTS,
    WINDOWS,
    commands,
    functions,
    nodes,
    parameters,
    parse,
    problems,
    root,
    sources,
    text,
)

# Cmdlets that both Windows PowerShell 5.1 and PowerShell 7 have on Windows, by the module they are from.
CORE: Final = {"Export-ModuleMember", "ForEach-Object", "Import-Module", "Out-Null", "Set-StrictMode", "Where-Object"}
MANAGEMENT: Final = {
    *("Copy-Item", "Get-ChildItem", "Get-Item", "Get-ItemProperty", "Get-Service", "Join-Path", "Move-Item"),
    *("New-Item", "Remove-Item", "Restart-Computer", "Start-Process", "Test-Path"),
}
UTILITY: Final = {
    *("ConvertFrom-Json", "ConvertTo-Json", "Get-Date", "Import-PowerShellDataFile", "New-Object", "New-TimeSpan"),
    *("Sort-Object", "Start-Sleep", "Unblock-File", "Write-Output", "Write-Verbose", "Write-Warning"),
}
WINDOWS_ONLY: Final = {
    *("Get-Acl", "Set-Acl", "Get-CimInstance", "Get-ScheduledTask", "New-ScheduledTaskAction"),
    *("New-ScheduledTaskPrincipal", "New-ScheduledTaskSettingsSet", "New-ScheduledTaskTrigger"),
    *("Register-ScheduledTask", "Stop-ScheduledTask", "Unregister-ScheduledTask"),
}
BUILT_IN: Final = CORE | MANAGEMENT | UTILITY | WINDOWS_ONLY
PESTER: Final = {
    *("BeforeAll", "BeforeEach", "Describe", "InModuleScope", "It", "Mock", "Set-ItResult", "Should"),
}
FAULTS: Final = (
    *("Get-GuestIsoRoot", "Clear-GuestState", "Get-GuestJsonString", "Get-GuestScript", "Get-GuestWish"),
    *("Enter-GuestLock", "Save-GuestUserData", "Set-GuestAgain", "Clear-GuestLeftover"),
    *("Get-CimInstance", "Test-GuestSetup", "NoDrive", "'alice'"),
)
"""What each Windows fault of the past is told by in its Pester test."""
COMMON_PARAMETERS: Final = {"ErrorAction", "Verbose", "Confirm", "Force"}

FUNCTIONS: Final = {name: node for path in MODULE.glob("*.ps1") for name, node in functions(root(path)).items()}
EVERY_SOURCE: Final = pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(WINDOWS)))


def code(path: Path) -> str:
    """Return a script without its comments."""
    source = path.read_text()
    for comment in nodes(root(path), "comment"):
        source = source.replace(text(comment), "")
    return source


@pytest.mark.parametrize(
    "broken",
    ["if ($x {", "function f {", "$a = @{ b = ", "foreach ($x of $y) {}", '"unterminated', "try {", "} else {"],
)
def test_the_grammar_finds_mistakes(broken: str) -> None:
    assert problems(parse(broken))


@EVERY_SOURCE
def test_it_parses_and_windows_powershell_reads_it_right(path: Path) -> None:
    assert problems(root(path)) == []
    source = path.read_bytes()
    assert source.isascii()  # without a byte order mark, 5.1 takes anything else for the machine's ANSI code page
    assert max(map(len, source.decode().splitlines())) <= 120
    # Operators that only PowerShell 7 has.
    strings = {"expandable_string_literal", "verbatim_string_characters", "comment"}
    leaves = [text(leaf) for leaf in nodes(root(path)) if not leaf.children and leaf.type not in strings]
    assert not {"??", "??=", "?.", "?[", "&&", "||", "?", "clean"}.intersection(leaves)


@EVERY_SOURCE
def test_every_command_is_there_and_our_own_are_called_as_they_are_declared(path: Path) -> None:
    known = BUILT_IN | PESTER if path.parent == PESTER_TESTS else BUILT_IN
    for command in commands(root(path)):
        assert command.name in FUNCTIONS or command.name in known, command
        if command.name in FUNCTIONS and "param" in text(FUNCTIONS[command.name]):
            declared = parameters(FUNCTIONS[command.name])
            mandatory = {name for name, declaration in declared.items() if "Mandatory" in declaration}
            assert command.parameters <= set(declared) | COMMON_PARAMETERS, command
            assert mandatory <= command.parameters, command


def test_every_function_is_used() -> None:
    exported = {"Invoke-ConfigDriveGuest", "Get-ConfigDriveGuestData", "Get-ConfigDriveGuestStatus"}
    called = {command.name for path in sources() for command in commands(root(path))}
    assert set(FUNCTIONS) - called - exported == set()
    assert len(FUNCTIONS) == sum(len(functions(root(path))) for path in MODULE.glob("*.ps1"))  # each is there once


def test_the_manifest_tells_the_truth() -> None:
    manifest = (MODULE / "ConfigDriveGuest.psd1").read_text()
    module = (MODULE / "ConfigDriveGuest.psm1").read_text()
    assert f"ModuleVersion        = '{configdrive.__version__}'" in manifest
    [exported] = re.findall(r"FunctionsToExport += @\((.*)\)", manifest)
    [declared] = re.findall(r"Export-ModuleMember -Function (.*)", module)
    assert exported == declared
    [loaded] = re.findall(r"^\$names = @\((.*?)\)$", module, re.MULTILINE | re.DOTALL)
    assert sorted(f"{name}.ps1" for name in re.findall(r"'(\w+)'", loaded)) == sorted(
        path.name for path in MODULE.glob("*.ps1")
    )


def test_no_script_that_could_show_a_secret() -> None:
    everything = "\n".join(code(path) for path in sources())
    for dangerous in (
        *("Invoke-Expression", "iex ", "Start-Transcript", "ConvertTo-SecureString", "net.exe", "net user"),
        *("Write-Host", "Set-PSDebug", "Write-Debug", "$_ |", "Out-File", "Out-String", "ExpandString"),
    ):
        assert dangerous.lower() not in everything.lower(), dangerous


def test_no_message_has_what_is_on_the_drive() -> None:
    """Nothing that holds content is named in a string that is shown, or in a command that shows something."""
    secrets = re.compile(r"\$(\{)?(password|content|userData|text|bytes|there|new|merged|keys|line)\b", re.IGNORECASE)
    harmless = ("$($userData.Bytes.Length)",)
    for path in MODULE.glob("*.ps1"):
        if path.name == "SshKeys.ps1":
            continue  # public keys are merged in there as lines, and are no secret
        for string in nodes(root(path), "expandable_string_literal"):
            shown = text(string)
            for part in harmless:
                shown = shown.replace(part, "")
            assert not secrets.search(shown), (path.name, shown)
        for command in commands(root(path)):
            if command.name.startswith("Write-") and command.name != "Write-GuestScript":
                assert not secrets.search(command.text), (path.name, command.text)


def test_secrets_are_in_no_parameter_and_in_no_pipeline() -> None:
    """PowerShell's module logging writes the values of parameters and pipelines, but not what is in a hash table."""
    for name, function in FUNCTIONS.items():
        if "param" not in text(function):
            continue
        for parameter, declaration in parameters(function).items():
            assert "byte[]" not in declaration, name
            if parameter in {"Content", "Password", "Prepared"}:
                assert "[hashtable]" in declaration, (name, parameter)
            assert parameter not in {"Bytes", "Text", "Secret", "UserData"}, name
    for name in ("Set-GuestPassword", "ConvertTo-GuestPassword", "Invoke-GuestPasswordChange", "Save-GuestUserData"):
        assert "|" not in {text(leaf) for leaf in nodes(FUNCTIONS[name]) if leaf.type == "|"}, name


@pytest.mark.parametrize("name", ["Invoke-ConfigDriveGuest", "Get-ConfigDriveGuestData", "Get-ConfigDriveGuestStatus"])
def test_what_is_offered_stops_at_errors_and_has_a_help(name: str) -> None:
    assert "$ErrorActionPreference = 'Stop'" in text(FUNCTIONS[name])
    source = (MODULE / "Commands.ps1").read_text()
    assert re.search(rf"\.SYNOPSIS\n.+(\n.*)*?#>\nfunction {name} ", source)


def test_each_fault_has_a_pester_test_and_every_mock_is_of_something_that_there_is() -> None:
    [path] = PESTER_TESTS.glob("*.Tests.ps1")
    script = path.read_text()
    assert [name for name in FAULTS if name not in script] == []
    mocked = set(re.findall(r"\b(?:Mock|Should -Invoke) ([A-Z][\w-]+)", script))
    assert mocked - set(FUNCTIONS) - WINDOWS_ONLY == set()
    assert len(re.findall(r"^    It '", script, re.MULTILINE)) == 15


def test_what_touches_windows_is_in_one_file() -> None:
    """So that all the rest can be tried anywhere where there is a PowerShell."""
    windows = {"Get-CimInstance", "Get-ItemProperty", "Get-Service", "Restart-Computer", "Start-Process", "Set-Acl"}
    for path in MODULE.glob("*.ps1"):
        used = {command.name for command in commands(root(path))} & windows
        assert path.name == "Windows.ps1" or not used, (path.name, used)
        for touched in ("[ADSI]", "EventLog]", "DriveInfo]", "PhysicalDrive"):
            assert path.name == "Windows.ps1" or touched not in code(path), (path.name, touched)


def test_scripts_are_strict() -> None:
    for path in (*WINDOWS.glob("*.ps1"), MODULE / "ConfigDriveGuest.psm1"):
        assert "Set-StrictMode -Version 2.0" in path.read_text(), path.name
        assert path.parent == MODULE or "$ErrorActionPreference = 'Stop'" in path.read_text(), path.name

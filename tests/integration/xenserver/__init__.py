"""The XenServer driver and its peer: what a real xapi 23.14 did otherwise than was thought, and the test of each.

1. A restarted toolstack leaves an import's image with the control domain: test_restarts.py (each call of each event),
   test_uploads.py `test_what_a_restarted_toolstack_...`, `test_an_import_that_goes_on_...`.
2. One at a time changes an SR, the others sleep at random: test_alone.py; with whole workers
   `benchmarks/xenserver.py`.
3. Which places a guest sees, and where the drive goes: test_positions.py `test_a_life`; unit test_slots.py.
4. A read-only disk is plugged into no running HVM guest: the same table, its columns `--now` and `running`.
5. A folder that is missing on NFS is no outage, and is made by SSH: test_iso_srs.py `test_without_the_directory_...`;
   test_doctor.py `test_fix_...`; test_sftp.py `test_with_ssh_the_directory_is_made`.
6. HA refuses what one host alone sees: test_migration.py, its last section.
7. A label names a VM only where that is set: test_identity.py, its first section; test_cloudstack.py.
8. A clone is emptied by its own start: test_identity.py, `test_..._clone_...`.
9. XAPI empties a drive whose image is gone by itself: test_hazards.py `test_an_image_deleted_past_the_fleet_...`.
10. Files without a row are found by a scan: test_uploads.py `test_files_of_which_xapi_lost_the_rows_...`.
11. Newer releases: test_migration.py `test_a_vm_that_is_on_its_way_...`, `test_an_image_that_...`; test_uploads.py
    `test_a_scan_that_...`; suspended VMs, blocked operations: test_hazards.py; a new master in an import:
    test_uploads.py `test_a_new_master_...`;
    the limit of sessions: test_sessions.py; tests/e2e/xenserver/test_killed.py.
12. The peer's rules are the recorded ones, but for the deviations that test_recordings.py lists with their reasons;
    places that a guest sees: `test_a_life`.
"""

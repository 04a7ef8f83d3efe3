# Read by ConfigDriveGuest as data. What is commented out shows what holds without it.
@{
    # The volume label of the config drive, in whatever case. The fleet's setting is CONFIGDRIVE_LABEL.
    # Label = 'config'

    # The local user whose password is set. Empty: the built-in administrator, whatever it is called.
    # PasswordUser = ''

    # Whether the ssh keys become those of all administrators (OpenSSH's administrators_authorized_keys): 'yes' or 'no'.
    # SshKeys = 'yes'

    # Whether user data that is a script (#ps1, rem cmd) is executed: 'auto' unless cloudbase-init does, 'yes', or 'no'.
    # UserData = 'auto'

    # Seconds that a run waits for a drive.
    # Wait = 60
}

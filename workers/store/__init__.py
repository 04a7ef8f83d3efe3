"""The store on Redis: mailboxes, their encoding and Lua scripts, the intake list, and inspection."""

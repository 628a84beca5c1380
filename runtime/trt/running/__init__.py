"""Open, run and inspect engines. Nothing here builds one."""

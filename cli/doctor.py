"""``u2net doctor``."""

from u2net.cli.printing import print_line, print_table


def doctor() -> None:
    """Say which backends and tools work here, and how to fix others."""
    from u2net.runtime.doctor import examine

    findings = examine()
    print_table(("what", "", "found"), [(each.subject, each.state, each.detail) for each in findings], words=3)
    for each in findings:
        if each.remedy:
            print_line(f"To get {each.subject}:\n{each.remedy}")

"""``u2net doctor``."""

from u2net.cli.printing import console, print_table


def doctor() -> None:
    """Say which backends work here, which do not, why, and the command that mends it."""
    from u2net.runtime.doctor import examine

    findings = examine()
    rows = [(each.subject, "works" if each.works else "does not work", each.detail) for each in findings]
    print_table(("what", "", "found"), rows, words=3)
    for each in findings:
        if each.remedy:
            console.print(f"{each.subject}: {each.remedy}", soft_wrap=True)

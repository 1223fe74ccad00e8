"""``python -m kt_transfer``: lists the commands and hands over to one."""

from kt_transfer.shell.entry import main

if __name__ == "__main__":
    main()

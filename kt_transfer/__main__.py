"""``python -m kt_transfer``: lists the commands and hands over to one."""

from kt_transfer.shell.main import main

if __name__ == "__main__":
    main()

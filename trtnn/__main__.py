"""``python -m trtnn``: the command ``trtnn``, where the folder of scripts is on no path."""

from trtnn_start import main

if __name__ == "__main__":
    main()

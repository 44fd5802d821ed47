"""A Flower app that adapts a frozen recogniser to an accent: only IA³ vectors leave a speaker's machine."""

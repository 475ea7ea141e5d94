"""Generated from protos/chatsvc/v1 by `make proto`; never edited."""

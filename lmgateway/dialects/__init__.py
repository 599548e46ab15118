"""Provider grammars as pure codecs against one hub: no network, no clock."""

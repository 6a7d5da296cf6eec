"""From an address to files on disk: each remote file whole and verified in a cache, each archive safely unpacked.

`fetch` brings a whole source into the project by what the others offer:
`remote` says what a transport must offer; `http`, `s3` and `drive` are the transports; `transfer` resumes and tries again;
`cache` keeps what was fetched and remembers its sha256; `unpack` refuses what an archive should not hold.
"""

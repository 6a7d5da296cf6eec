"""From a URL to files on disk: each remote file complete and verified in a cache, each archive safely unpacked.

`fetch` brings a whole source into the project, using the others: `remote` is the interface of a transport; `http`, `s3` and
`drive` are the transports; `transfer` resumes and retries; `cache` keeps fetched files and their sha256; `unpack` rejects what
an archive should not contain, `foreign` what is none; `wrappers` finds the layout in what was unpacked; `assemble` merges several
archives; `collect` does all this for one source; `places` says in messages where an unpacked file comes from.
"""

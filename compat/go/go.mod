module jackdaw/compat/rows

go 1.24

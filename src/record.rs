//! Record batches: the header over borrowed bytes, the rules, the records, the codecs.

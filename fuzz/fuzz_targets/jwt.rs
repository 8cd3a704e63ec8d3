#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    jackdaw_fuzz::jwt(data);
});

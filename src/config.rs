//! Every setting, declared once.

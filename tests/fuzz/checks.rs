//! The checks of the fuzz targets, of one input each.

pub(crate) mod config_parse;
pub(crate) mod decrypt;
pub(crate) mod keyring_parse;
pub(crate) mod sealed_parse;
pub(crate) mod token_worker;

//! Log lines of the client, which need the feature `tracing`.

macro_rules! note {
    ($($part:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::warn!(target: "makima_tts_client", $($part)*);
        #[cfg(not(feature = "tracing"))]
        let _ = format_args!($($part)*);
    }};
}

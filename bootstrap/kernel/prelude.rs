use fruits_core::prelude::*;
fruits_core::log::show(0);
fruits_core::watch_panics();
let _ready = async { Ok::<(), fruits_core::Error>(()) }.await?;

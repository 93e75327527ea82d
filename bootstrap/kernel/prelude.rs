use fruits_core::prelude::*;
fruits_core::log::to_stderr(0);
let _ready = async { Ok::<(), fruits_core::Error>(()) }.await?;

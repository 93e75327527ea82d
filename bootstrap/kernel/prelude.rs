use fruits_core::prelude::*;
let _ready = async { Ok::<(), fruits_core::Error>(()) }.await?;

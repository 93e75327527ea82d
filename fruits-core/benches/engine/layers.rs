//! The layers of the network under the roofs of the processor: which one is near, and how much of the time none explains.
//!
//! A layer is a block, whose hidden map is made in strips. It takes at least as long as its multiply-adds, and the comparisons with 0 and 6,
//! which run on the same units; as what goes through the second cache: the maps, the hidden ones written and read again, and the weights for
//! every strip; and as the weights from the third, because those of all layers together do not fit into the second.
//!
//! All numbers are lower quartiles of seconds: of what is this short, other programs lengthen some and leave others alone.

use std::time::Duration;

use fruits_core::MobileNetV2;
use fruits_core::mobilenet::Layer;
use fruits_core::pixels::RgbImage;

use crate::limit;

const ROUNDS: usize = 50;
const NAMES: [&str; 3] = ["FMA", "L2", "L3"];
/// Of less of the time, the nearest roof does not say what the layer waits for.
const NEAR: f64 = 0.8;

/// What a thread measures at a time, while the others do the same.
struct Sample {
    /// Seconds of a multiply-add, of a byte from the second cache, and of one from the third.
    roofs: [f64; 3],
    layers: Vec<Layer>,
}

pub fn print(model: &MobileNetV2, photo: &RgbImage, one: &rayon::ThreadPool) {
    // More than first caches hold and less than second ones; more than second ones and less than third ones.
    let [l2, l3] = [256 << 10, 4 << 20].map(|bytes| vec![1.0; bytes / size_of::<f32>()]);
    let sample = || {
        // At the clock that a processor has which works.
        model.layers(photo);
        // So short that other programs seldom come between.
        let roofs = [
            limit::by_this_thread(Duration::from_micros(100)),
            limit::from_cache(&l2),
            limit::from_cache(&l3),
        ]
        .map(f64::recip);
        // The second finds the caches as a photo leaves them.
        model.layers(photo);
        let layers = model.layers(photo);
        Sample { roofs, layers }
    };
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.extend(one.broadcast(|_| sample()));
        together.extend(rayon::broadcast(|_| sample()));
    }
    let [roofs, of_all] =
        [&alone, &together].map(|samples| [0, 1, 2].map(|i| quartile(samples, |sample| sample.roofs[i])));
    let seconds =
        |samples: &[Sample], layer: usize| quartile(samples, |sample| sample.layers[layer].time.as_secs_f64());
    let layers = &alone[0].layers;
    let whole: f64 = (0..layers.len()).map(|layer| seconds(&alone, layer)).sum();

    let [fma, l2, l3] = roofs.map(|roof| 1e-9 / roof);
    println!("{model:?}, a layer at a time; roofs: {fma:.1} GFMA/s, {l2:.0} GB/s from L2, {l3:.0} GB/s from L3");
    println!(
        "                              weights               maps, KB                                        at least, ms"
    );
    println!(
        "                  MFMA  strips     KB      in  between    out      ms  % of all  GFMA/s  % of limit    FMA     L2     L3  near  % by all threads"
    );
    for (index, layer) in layers.iter().enumerate() {
        let (time, work) = (seconds(&alone, index), layer.multiply_adds as f64);
        let [input, between, output] = layer.maps;
        let through_l2 = layer.weights * layer.strips + input + 2 * between + output;
        let least = [
            (layer.multiply_adds + 2 * layer.cut) as f64 * roofs[0],
            through_l2 as f64 * roofs[1],
            layer.weights as f64 * roofs[2],
        ];
        let nearest = (0..3)
            .max_by(|&a, &b| least[a].total_cmp(&least[b]))
            .expect("there are three");
        println!(
            "{:14} {:7.2} {:7} {:6.0} {:7.0} {:8.0} {:6.0} {:7.3} {:9.1} {:7.1} {:11.1} {:6.3} {:6.3} {:6.3}  {:4} {:17.1}",
            layer.name,
            work / 1e6,
            layer.strips,
            layer.weights as f64 / 1e3,
            input as f64 / 1e3,
            between as f64 / 1e3,
            output as f64 / 1e3,
            1e3 * time,
            100.0 * time / whole,
            work / time / 1e9,
            100.0 * work * roofs[0] / time,
            1e3 * least[0],
            1e3 * least[1],
            1e3 * least[2],
            if least[nearest] > NEAR * time {
                NAMES[nearest]
            } else {
                "none"
            },
            100.0 * work * of_all[0] / seconds(&together, index),
        );
    }
    let work: usize = layers.iter().map(|layer| layer.multiply_adds).sum();
    println!(
        "{:14} {:7.2} {:44.3} {:29.1}",
        "all",
        work as f64 / 1e6,
        1e3 * whole,
        100.0 * work as f64 * roofs[0] / whole
    );
}

fn quartile(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

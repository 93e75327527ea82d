//! Renders the sample data set: six kinds of fruit, sixteen views of each, in the style of
//! Fruits-360 (one fruit on pure white, 100 x 100 pixels, JPEG).
//!
//! Every fruit is a signed distance function, found by ray marching and painted with noise.
//! The seeds are fixed, so every run makes the same pictures. It takes about a minute.
//!
//! ```text
//! cargo run --release --example render-sample -- data-sample
//! ```

use std::f32::consts::{FRAC_PI_2, TAU};
use std::ops::{Add, Mul, Sub};
use std::path::{Path, PathBuf};
use std::{env, error, fs, thread};
use turbojpeg::{Image, PixelFormat, Subsamp};

/// Width and height of a picture, in pixels.
const SIZE: usize = 100;
/// Samples along each side of a pixel.
const SAMPLES: usize = 4;
/// Pictures of each class: one full turn.
const VIEWS: usize = 16;
/// How the fruits of a class lie (degrees around x and z); they take turns before the camera.
const POSES: [(f32, f32); 3] = [(8.0, 5.0), (24.0, -14.0), (10.0, 72.0)];
/// Part of the frame that the longer side of the fruit fills.
const FILL: f32 = 0.9;
const JPEG_QUALITY: i32 = 90;
/// Half the side of the cube that holds any fruit.
const REACH: f32 = 1.7;
/// Part of the measured distance that a ray advances, because the distances are not exact.
const CAUTION: f32 = 0.6;
/// The light: a warm key from the upper left, and white paper all around.
const KEY: V3 = v(0.92, 0.86, 0.78);
const SKY: V3 = v(0.27, 0.28, 0.30);
const GROUND: V3 = v(0.13, 0.115, 0.10);
/// How far red, green and blue light travel under a skin.
const BLEED: V3 = v(0.2, 0.09, 0.04);
const WHITE: V3 = v(1.0, 1.0, 1.0);
const BLACK: V3 = v(0.0, 0.0, 0.0);

type Outcome = Result<(), Box<dyn error::Error + Send + Sync>>;

/// A point, a direction, or a linear RGB colour.
#[derive(Clone, Copy)]
struct V3 {
    x: f32,
    y: f32,
    z: f32,
}

const fn v(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

macro_rules! operators {
    ($($name:ident $method:ident $op:tt),*) => {$(
        impl $name for V3 {
            type Output = V3;
            fn $method(self, o: V3) -> V3 {
                v(self.x $op o.x, self.y $op o.y, self.z $op o.z)
            }
        }
    )*};
}
operators!(Add add +, Sub sub -, Mul mul *);

impl Mul<f32> for V3 {
    type Output = V3;
    fn mul(self, k: f32) -> V3 {
        self.map(|c| c * k)
    }
}

impl V3 {
    fn map(self, f: impl Fn(f32) -> f32) -> V3 {
        v(f(self.x), f(self.y), f(self.z))
    }
    fn dot(self, o: V3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }
    fn length(self) -> f32 {
        self.dot(self).sqrt()
    }
    fn unit(self) -> V3 {
        self * self.length().recip()
    }
    /// Distance from the y axis.
    fn radius(self) -> f32 {
        self.x.hypot(self.z)
    }
    /// Wave with five crests around the y axis.
    fn lobes(self) -> f32 {
        (5.0 * self.z.atan2(self.x)).cos()
    }
    /// Covers a colour with an sRGB one of the given opacity.
    fn paint(self, hex: u32, opacity: f32) -> V3 {
        self + (rgb(hex) - self) * opacity.clamp(0.0, 1.0)
    }
}

/// The linear colour of an sRGB hex code.
fn rgb(hex: u32) -> V3 {
    let [_, r, g, b] = hex.to_be_bytes().map(f32::from);
    v(r, g, b).map(|c| (c / 255.0).powf(2.2))
}

/// Smooth step from 0 at `a` to 1 at `b`, in either order.
fn ramp(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A bell curve of height and width 1.
fn bell(x: f32) -> f32 {
    (-x * x).exp()
}

/// A random number in 0..1 for a point of the lattice: the only source of chance.
fn random(p: V3, seed: u32) -> f32 {
    let mut h = seed.wrapping_mul(0x9E37_79B1);
    for n in [p.x, p.y, p.z] {
        h = (h ^ n as i32 as u32).wrapping_mul(0x85EB_CA6B);
        h ^= h >> 15;
    }
    (h.wrapping_mul(0xC2B2_AE35) >> 8) as f32 / (1 << 24) as f32
}

/// What tells one fruit of a class from the next, in -1..1.
fn quirk(seed: u32) -> f32 {
    2.0 * random(BLACK, seed) - 1.0
}

/// Smooth noise in -1..1.
fn noise(p: V3, seed: u32) -> f32 {
    let cell = p.map(f32::floor);
    let t = (p - cell).map(|f| ramp(0.0, 1.0, f));
    let lerp = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let corner = |x, y, z| random(cell + v(x, y, z), seed);
    let edge = |y, z| lerp(corner(0.0, y, z), corner(1.0, y, z), t.x);
    let face = |z| lerp(edge(0.0, z), edge(1.0, z), t.y);
    2.0 * lerp(face(0.0), face(1.0), t.z) - 1.0
}

/// Four octaves of noise.
fn fbm(p: V3, seed: u32) -> f32 {
    let octave = |i| noise(p * (1 << i) as f32, seed + i) / (2 << i) as f32;
    (0..4).map(octave).sum()
}

/// Round spots at random places, one in each cell of side 1, that fade from 1 to 0 at `size`.
fn spots(p: V3, size: f32, seed: u32) -> f32 {
    let corner = p.map(f32::floor) - WHITE;
    let spot = |i: i32| {
        let cell = corner + v((i % 3) as f32, (i / 3 % 3) as f32, (i / 9) as f32);
        let chance = |n| random(cell, seed + n);
        let centre = cell + v(chance(0), chance(1), chance(2));
        ramp(size * (0.6 + 0.4 * chance(3)), 0.0, (p - centre).length())
    };
    (0..27).map(spot).fold(0.0, f32::max)
}

/// A quantity in the space around the fruit of a given seed.
type Field<T> = fn(V3, u32) -> T;

/// A kind of fruit. Its axis is y, and its stalk is up.
struct Class {
    name: &'static str,
    /// Distance to the body.
    body: Field<f32>,
    /// Height of the details of the skin, too fine for rays to find.
    relief: Field<f32>,
    /// Colour of the skin.
    skin: Field<V3>,
    /// Distance to the stalk or leaves, and their colour.
    trim: Field<f32>,
    trim_colour: u32,
    /// Strength and sharpness of the highlight.
    gloss: (f32, f32),
    /// Height of the camera, in degrees.
    elevation: f32,
}

static CLASSES: [Class; 6] = [
    Class {
        name: "Apple Red",
        body: apple_body,
        relief: |p, seed| 0.004 * fbm(p * 5.0, seed),
        skin: apple_skin,
        trim: |p, seed| stick(p, 0.3, v(0.1 * quirk(seed), 0.95, 0.05), 0.032),
        trim_colour: 0x5C4226,
        gloss: (0.4, 80.0),
        elevation: 14.0,
    },
    Class {
        name: "Banana",
        body: banana_body,
        relief: |p, seed| 0.006 * fbm(p * 4.0, seed),
        skin: banana_skin,
        trim: |_, _| f32::MAX,
        trim_colour: 0,
        gloss: (0.1, 18.0),
        elevation: 52.0,
    },
    Class {
        name: "Kiwi",
        body: kiwi_body,
        relief: |p, seed| 0.016 * fbm(v(p.x, 0.35 * p.y, p.z) * 36.0, seed),
        skin: kiwi_skin,
        trim: |p, _| stick(p, -0.93, v(0.0, -0.6, 0.0), 0.035),
        trim_colour: 0x54402A,
        gloss: (0.02, 8.0),
        elevation: 12.0,
    },
    Class {
        name: "Lemon",
        body: lemon_body,
        relief: |p, seed| 0.014 * fbm(p * 4.0, seed) - 0.006 * pores(p, seed),
        skin: lemon_skin,
        trim: |p, _| stick(p, 0.7, v(0.0, 0.865, 0.0), 0.06),
        trim_colour: 0x6E5E30,
        gloss: (0.2, 30.0),
        elevation: 14.0,
    },
    Class {
        name: "Orange",
        body: orange_body,
        relief: |p, seed| 0.01 * fbm(p * 4.0, seed) - 0.007 * pores(p, seed),
        skin: orange_skin,
        trim: |p, _| (p.radius() - 0.085 - 0.02 * p.lobes()).max((p.y - 0.83).abs() - 0.025),
        trim_colour: 0x5E5C2C,
        gloss: (0.24, 34.0),
        elevation: 16.0,
    },
    Class {
        name: "Strawberry",
        body: |p, seed| egg(p, v(0.65, 0.88, 0.68), 0.5) - 0.08 * lumps(p, seed),
        relief: |p, _| 0.02 * bell(1.3 * pip(p)) - 0.036 * bell(0.5 * pip(p)),
        skin: strawberry_skin,
        trim: |p, seed| calyx(p, seed).min(stick(p, 0.8, v(0.1, 1.1, 0.0), 0.03)),
        trim_colour: 0x5A8A2C,
        gloss: (0.3, 50.0),
        elevation: 14.0,
    },
];

/// Distance to an ellipsoid that tapers downwards.
fn egg(p: V3, radii: V3, taper: f32) -> f32 {
    let wide = (1.0 + taper * p.y).max(0.2);
    let scale = v(wide * radii.x, radii.y, wide * radii.z).map(f32::recip);
    let q = p * scale;
    q.length() * (q.length() - 1.0) / (q * scale).length().max(0.01)
}

/// Distance to a round stick from the height `foot` on the axis to `top`.
fn stick(p: V3, foot: f32, top: V3, radius: f32) -> f32 {
    let (p, way) = (p - v(0.0, foot, 0.0), top - v(0.0, foot, 0.0));
    let t = (p.dot(way) / way.dot(way)).clamp(0.0, 1.0);
    (p - way * t).length() - radius * (0.8 + 0.4 * t * t)
}

/// The unevenness of a grown thing.
fn lumps(p: V3, seed: u32) -> f32 {
    noise(p * 1.4, seed + 40)
}

/// The pores of a citrus skin.
fn pores(p: V3, seed: u32) -> f32 {
    spots(p * 14.0, 0.75, seed + 50)
}

fn apple_body(p: V3, seed: u32) -> f32 {
    let lobes = 1.0 + 0.022 * p.lobes() * ramp(0.3, -0.7, p.y);
    let r = p.radius() / ((0.97 + 0.12 * p.y) * lobes);
    let depth = if p.y > 0.0 { 0.34 } else { -0.2 };
    let y = (0.84 + 0.05 * quirk(seed)) * (p.y + depth * bell(r / 0.2));
    (r - 0.33).hypot(y) - 0.66 - 0.03 * lumps(p, seed)
}

fn apple_skin(p: V3, seed: u32) -> V3 {
    let axis = p.unit();
    let streak = fbm(v(axis.x * 9.0, p.y * 1.2, axis.z * 9.0), seed + 1);
    let sun = 0.6 * axis.x + 0.7 * noise(p * 1.1, seed + 2);
    let hollow = ramp(0.36, 0.08, p.radius() + 0.12 * streak);
    let yellow = ramp(0.0, -1.2, sun + 1.1 * streak).max(0.8 * hollow);
    rgb(0x8E0A14)
        .paint(0xC2261C, 0.5 + 1.3 * streak + 0.2 * quirk(seed))
        .paint(0xD0A842, yellow)
        .paint(0xE8C890, 0.6 * spots(p * 9.0, 0.22, seed + 3))
}

/// Place in a banana: along it (1 and -1 at the ends), beyond the end, and the cross section.
fn unbend(p: V3) -> (f32, f32, V3) {
    const BEND: f32 = 1.25;
    const HALF: f32 = 0.92;
    let (angle, arm) = (p.z.atan2(1.0 - p.x), p.z.hypot(1.0 - p.x));
    let beyond = arm * (angle.abs() - HALF).clamp(0.0, FRAC_PI_2).sin();
    (angle / HALF, beyond, v(arm - BEND, 0.0, p.y))
}

fn banana_body(p: V3, seed: u32) -> f32 {
    let (along, beyond, section) = unbend(p);
    let from = if along > 0.0 { 0.4 } else { 0.5 };
    let taper = (1.9 * (along.abs() - from)).clamp(0.0, 1.0).powi(2);
    let girth = (0.225 + 0.015 * quirk(seed)) * (1.0 + 0.035 * section.lobes());
    let radius = (girth * (1.0 - taper)).hypot(0.055);
    let across = section.length() - radius - 0.01 * lumps(p * 2.0, seed);
    across.max(0.0).hypot(beyond) + across.min(0.0) - 0.01
}

fn banana_skin(p: V3, seed: u32) -> V3 {
    let (along, beyond, section) = unbend(p);
    let (rough, age) = (fbm(p * 6.0, seed + 1), quirk(seed));
    let far = along.abs() + 0.2 * rough;
    let ridge = ramp(0.75, 1.0, section.lobes() + 0.3 * rough);
    let freckle = spots(p * 6.0, 0.3, seed + 2);
    rgb(0xE8B822)
        .paint(0xD69A1C, 0.4 + 0.4 * age + rough)
        .paint(0x8F9A2E, ramp(0.5, 1.0, far) * (0.6 - 0.25 * age))
        .paint(0x9A6A1E, 0.35 * ridge)
        .paint(0x4A2C14, (0.9 + 0.4 * age) * freckle)
        .paint(0x35251A, ramp(0.95, 1.0, far) + 20.0 * beyond)
}

fn kiwi_body(p: V3, seed: u32) -> f32 {
    let flat = 0.05 * ramp(0.6, 1.0, p.y.abs()) * bell(p.radius() / 0.4);
    let ring = 0.025 * bell((p.radius() - 0.13) / 0.04);
    let hairs = 0.01 * noise(v(p.x, 0.5 * p.y, p.z) * 42.0, seed + 9);
    egg(p, v(0.71, 0.92, 0.66), 0.07) + flat - ring - hairs - 0.04 * lumps(p, seed)
}

fn kiwi_skin(p: V3, seed: u32) -> V3 {
    let hair = fbm(v(p.x, 0.3 * p.y, p.z) * 24.0, seed + 1);
    rgb(0x86683C)
        .paint(0xC0A068, 0.5 + 1.2 * hair + 0.2 * quirk(seed))
        .paint(0x5E4A2A, 0.25 + fbm(p * 2.2, seed + 2))
        .paint(0x4B351E, 0.6 * ramp(0.2, 0.1, p.radius()))
}

fn lemon_body(p: V3, seed: u32) -> f32 {
    let nose = 0.17 * bell(p.radius() / 0.17) * ramp(-0.6, -0.85, p.y);
    let neck = 0.10 * bell(p.radius() / 0.2) * ramp(0.6, 0.85, p.y);
    let width = 0.68 + 0.04 * quirk(seed);
    egg(p, v(width, 0.84, width), 0.04) - nose - neck - 0.05 * lumps(p, seed)
}

fn lemon_skin(p: V3, seed: u32) -> V3 {
    let patch = fbm(p * 2.0, seed + 1);
    let green = ramp(0.55, 1.1, p.y.abs() + 0.5 * patch);
    let scuff = ramp(0.2, 0.42, fbm(p * 7.0, seed + 2));
    rgb(0xF5CB2A)
        .paint(0xE3AE14, 0.4 + 0.4 * quirk(seed) + patch)
        .paint(0xA9B03A, 0.4 * green)
        .paint(0x9C7428, 0.35 * scuff)
        .paint(0xC79A1A, 0.35 * pores(p, seed))
}

fn orange_body(p: V3, seed: u32) -> f32 {
    let dent = 0.07 * bell(p.radius() / 0.16) + 0.015 * bell((p.radius() - 0.3) / 0.15);
    let height = 0.91 + 0.03 * quirk(seed);
    egg(p, v(0.95, height, 0.95), 0.03) + dent - 0.03 * lumps(p, seed)
}

fn orange_skin(p: V3, seed: u32) -> V3 {
    let patch = fbm(p * 1.8, seed + 1);
    let green = ramp(0.0, 0.5, p.y) * ramp(0.32, 0.05, p.radius() + 0.2 * patch);
    let navel = ramp(0.0, -0.5, p.y) * ramp(0.09, 0.04, p.radius());
    rgb(0xF08C12)
        .paint(0xD46A06, 0.5 + 0.4 * quirk(seed) + 0.9 * patch)
        .paint(0xB85808, 0.5 * pores(p, seed))
        .paint(0x8A8A2A, 0.5 * green)
        .paint(0x3A2410, navel)
}

/// Distance to the nearest seed of a strawberry, in seeds; they sit in uneven rows.
fn pip(p: V3) -> f32 {
    const ROW: f32 = 0.2;
    let latitude = (p.y.atan2(p.radius()) + 0.06 * noise(p * 3.0, 1)) / ROW;
    let row = latitude.floor();
    let count = (28.0 * ((row + 0.5) * ROW).cos()).round().max(1.0);
    let column = (p.z.atan2(p.x) / TAU + 0.382 * row) * count + 0.35 * noise(p * 4.0, 2);
    let across = (column - column.floor() - 0.5) * TAU * p.radius() / count;
    let along = (latitude - row - 0.5) * ROW * p.length();
    (across / 0.022).hypot(along / 0.034)
}

fn strawberry_skin(p: V3, seed: u32) -> V3 {
    let patch = fbm(p * 2.5, seed + 1);
    rgb(0xB00E18)
        .paint(0xD42A1E, 0.5 + 0.4 * quirk(seed) + patch)
        .paint(0xE8A070, 0.5 * ramp(0.55, 0.95, p.y + 0.25 * patch))
        .paint(0xD8A23C, ramp(1.15, 0.75, pip(p)))
}

/// Distance to the ring of pointed leaves on a strawberry.
fn calyx(p: V3, seed: u32) -> f32 {
    const LEAVES: f32 = 9.0;
    let sector = p.z.atan2(p.x) / TAU * LEAVES;
    let leaf = v(sector.floor().rem_euclid(LEAVES), 0.0, 0.0);
    let aside = ((sector - sector.floor() - 0.5) * TAU / LEAVES * p.radius()).abs();
    let t = (p.radius() / (0.55 + 0.18 * random(leaf, seed))).min(1.2);
    let width = 0.16 * (1.0 - t * t) * (0.35 + t).min(1.0);
    let rise = (0.1 + 0.3 * random(leaf, seed + 1)) * t * (1.0 - 0.4 * t);
    let height = 0.87 + rise - 0.38 * t * t + 0.6 * aside;
    ((p.y - height).abs() - 0.018).max(aside - width) * CAUTION
}

/// One picture to take: a fruit, and the camera and the light in the space of the fruit.
struct Scene {
    class: &'static Class,
    seed: u32,
    right: V3,
    up: V3,
    toward: V3,
    key: V3,
}

impl Scene {
    fn new(class: &'static Class, view: usize) -> Scene {
        let individual = view % POSES.len();
        let (tilt, lean) = POSES[individual];
        let turn = 360.0 * view as f32 / VIEWS as f32;
        let rotate = |a: f32, b: f32, degrees: f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            (a * cos - b * sin, a * sin + b * cos)
        };
        let place = |x: f32, y: f32, z: f32| {
            let (y, z) = rotate(y, z, -class.elevation);
            let (z, x) = rotate(z, x, turn);
            let (x, y) = rotate(x, y, -lean);
            let (y, z) = rotate(y, z, -tilt);
            v(x, y, z).unit()
        };
        let class_seed: u32 = class.name.bytes().map(u32::from).sum();
        let sway = |n: usize| 0.1 * quirk(class_seed + (n * VIEWS + view) as u32);
        Scene {
            class,
            seed: 1000 * class_seed + 100 * individual as u32,
            right: place(1.0, 0.0, 0.0),
            up: place(0.0, 1.0, 0.0),
            toward: place(0.0, 0.0, 1.0),
            key: place(-0.42 + sway(0), 0.58 + sway(1), 0.7),
        }
    }

    fn distance(&self, p: V3) -> f32 {
        (self.class.body)(p, self.seed).min((self.class.trim)(p, self.seed))
    }

    /// The point of the fruit seen at the place (x, y) of the picture plane.
    fn hit(&self, x: f32, y: f32) -> Option<V3> {
        let mut p = self.right * x + self.up * y + self.toward * REACH;
        while p.dot(self.toward) > -REACH {
            let d = self.distance(p);
            if d < 0.002 {
                return Some(p);
            }
            p = p - self.toward * (d * CAUTION);
        }
        None
    }

    /// The outward direction of the surface, with its relief.
    fn normal(&self, p: V3) -> V3 {
        let (class, seed) = (self.class, self.seed);
        let slope = |x: f32, y: f32, z: f32| {
            let q = p + v(x, y, z) * 0.006;
            let skin = (class.body)(q, seed) - (class.relief)(q, seed);
            v(x, y, z) * skin.min((class.trim)(q, seed))
        };
        let front = slope(1.0, 1.0, 1.0) + slope(-1.0, -1.0, 1.0);
        (front + slope(1.0, -1.0, -1.0) + slope(-1.0, 1.0, -1.0)).unit()
    }

    /// Part of the key light that arrives at `p`.
    fn shadow(&self, p: V3) -> f32 {
        let (mut light, mut walk) = (1.0_f32, 0.04);
        while walk < REACH && light > 0.0 {
            let d = self.distance(p + self.key * walk);
            light = light.min(7.0 * d / walk + 0.15);
            walk += (d * CAUTION).max(0.03);
        }
        light.max(0.0)
    }

    /// Part of the light from all around that arrives at `p`.
    fn openness(&self, p: V3, normal: V3) -> f32 {
        let clear = |h: f32| (self.distance(p + normal * h) / h).clamp(0.1, 1.0);
        (clear(0.05) + clear(0.1) + clear(0.2) + clear(0.4)) / 4.0
    }

    /// Colour of the fruit at `p`.
    fn albedo(&self, p: V3) -> V3 {
        let (class, seed) = (self.class, self.seed);
        if (class.trim)(p, seed) < (class.body)(p, seed) {
            rgb(class.trim_colour) * (0.9 + fbm(p * 12.0, seed))
        } else {
            (class.skin)(p, seed)
        }
    }

    /// The light that a point of the fruit sends to the camera.
    fn shade(&self, p: V3) -> V3 {
        let normal = self.normal(p);
        let (shadow, open) = (self.shadow(p), self.openness(p, normal));
        let facing = normal.dot(self.key);
        let key = KEY * BLEED.map(|b| ((facing + b) / (1.0 + b)).max(0.0)) * shadow;
        let around = GROUND + (SKY - GROUND) * (0.5 + 0.5 * normal.dot(self.up));
        let (gloss, sharpness) = self.class.gloss;
        let lobe = normal.dot((self.key + self.toward).unit()).max(0.0);
        let shine = lobe.powf(sharpness) + 0.25 * lobe.powf(0.2 * sharpness);
        let fresnel = (1.0 - normal.dot(self.toward)).clamp(0.0, 1.0).powi(5);
        let mirror = shine * shadow * facing.max(0.0) + fresnel * open;
        let light = self.albedo(p) * (key + around * open) + WHITE * (gloss * mirror);
        light.map(|c| c.min(1.0))
    }

    /// Centre of the fruit in the picture plane, and half its longer side.
    fn frame(&self) -> (f32, f32, f32) {
        const STEPS: i32 = 24;
        let (mut low, mut high) = ((REACH, REACH), (-REACH, -REACH));
        for i in 0..4 * STEPS * STEPS {
            let at = |n: i32| REACH * ((n as f32 + 0.5) / STEPS as f32 - 1.0);
            let (x, y) = (at(i % (2 * STEPS)), at(i / (2 * STEPS)));
            if self.hit(x, y).is_some() {
                low = (low.0.min(x), low.1.min(y));
                high = (high.0.max(x), high.1.max(y));
            }
        }
        let half = (high.0 - low.0).max(high.1 - low.1) / 2.0 + 0.5 * REACH / STEPS as f32;
        ((low.0 + high.0) / 2.0, (low.1 + high.1) / 2.0, half)
    }

    /// The picture, as rows of RGB bytes.
    fn render(&self) -> Vec<u8> {
        let (x, y, half) = self.frame();
        let across = (SIZE * SAMPLES) as f32;
        let at = |n: usize| (2.0 * n as f32 + 1.0 - across) * half / (FILL * across);
        let pixel = |i: usize| {
            let sample = |j: usize| {
                let column = i % SIZE * SAMPLES + j % SAMPLES;
                let row = i / SIZE * SAMPLES + j / SAMPLES;
                let seen = self.hit(x + at(column), y - at(row));
                seen.map_or(WHITE, |p| self.shade(p))
            };
            let sum = (0..SAMPLES * SAMPLES).map(sample).fold(BLACK, V3::add);
            let mean = sum * (1.0 / (SAMPLES * SAMPLES) as f32);
            [mean.x, mean.y, mean.z].map(|c| (255.0 * c.powf(1.0 / 2.2)).round() as u8)
        };
        (0..SIZE * SIZE).flat_map(pixel).collect()
    }
}

/// Renders all views of a class into its folder.
fn write_class(class: &'static Class, output: &Path) -> Outcome {
    let folder = output.join(class.name);
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    for view in 0..VIEWS {
        let image = Image {
            pixels: Scene::new(class, view).render(),
            width: SIZE,
            pitch: SIZE * 3,
            height: SIZE,
            format: PixelFormat::RGB,
        };
        let jpeg = turbojpeg::compress(image.as_deref(), JPEG_QUALITY, Subsamp::Sub2x2)?;
        let file = folder.join(format!("view-{view:02}.jpg"));
        fs::write(&file, &jpeg).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    }
    Ok(())
}

fn main() -> Outcome {
    let output = env::args_os().nth(1).map(PathBuf::from);
    let output = &output.ok_or("usage: render-sample OUTPUT_FOLDER")?;
    thread::scope(|scope| {
        let start = |class| scope.spawn(move || write_class(class, output));
        let workers = CLASSES.each_ref().map(start);
        let mut results = workers.into_iter().map(|worker| worker.join());
        results.try_for_each(|result| result.map_err(|_| "a worker thread failed")?)
    })
}

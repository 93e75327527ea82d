//! WebP to RGB, and small pictures to WebP, by libwebp, which Pillow uses too.
//!
//! Pillow's `_webp.c` decodes every file with libwebp's `WebPAnimDecoder`: the first frame, drawn on a canvas of transparent black, in RGBA.
//! That keeps two canvases of four bytes per pixel. This module asks the same demuxer for the same frame, and the same decoder for
//! RGB: the colours are the same, since nothing is premultiplied. `WebPImagePlugin.py` says which files are WebP.

#![allow(unsafe_code)] // libwebp is written in C

use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};

use bytes::Bytes;
use libwebp_sys::{
    VP8StatusCode, WEBP_CSP_MODE, WEBP_DEMUX_ABI_VERSION, WebPData, WebPDecode, WebPDecoderConfig, WebPDemuxDelete,
    WebPDemuxGetFrame, WebPDemuxGetI, WebPDemuxInternal, WebPDemuxReleaseIterator, WebPDemuxer, WebPEncodeRGB,
    WebPFormatFeature, WebPFree, WebPIterator, WebPRGBABuffer,
};

use super::RgbImage;
use super::limits::{Limits, invalid, truncated};
use crate::error::Result;

const CHANNELS: usize = 3;

/// The first frame of the picture in `bytes`, on its canvas.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    if !is_webp(bytes) {
        return Err(invalid("not a WebP file"));
    }
    let file = Demuxer::new(bytes)?;
    let (width, height) = file.canvas();
    let (width, height) = limits.check(width.into(), height.into())?;
    let stride = width as usize * CHANNELS;
    let mut canvas = vec![0; stride * height as usize];
    file.draw_first_frame(&mut canvas, stride)?;
    RgbImage::from_raw(width, height, canvas).ok_or_else(truncated)
}

/// The picture as a WebP file, with losses; `quality` is libwebp's, from 0 to 100.
pub(crate) fn encode(picture: &RgbImage, quality: f32) -> Result<Bytes> {
    let (width, height) = (picture.width() as c_int, picture.height() as c_int);
    let mut file = null_mut();
    // SAFETY: the picture has three bytes for each of its pixels, row by row, and libwebp says where it has put the file.
    let length = unsafe {
        WebPEncodeRGB(
            picture.as_ptr(),
            width,
            height,
            CHANNELS as c_int * width,
            quality,
            &mut file,
        )
    };
    if file.is_null() || length == 0 {
        return Err(invalid(
            "libwebp cannot write the picture: it has no memory, or the picture no pixels",
        ));
    }
    // SAFETY: the file is of this length, and is given back to libwebp once.
    let bytes = unsafe { Bytes::copy_from_slice(std::slice::from_raw_parts(file, length)) };
    unsafe { WebPFree(file.cast()) };
    Ok(bytes)
}

/// `_accept` of `WebPImagePlugin.py`: libwebp itself reads files without these, too.
fn is_webp(bytes: &[u8]) -> bool {
    let part = |at| bytes.get(at).unwrap_or_default();
    part(0..4) == b"RIFF"
        && part(8..12) == b"WEBP"
        && [b"VP8 ", b"VP8L", b"VP8X"].iter().any(|kind| part(12..16) == *kind)
}

/// A file of which libwebp found every chunk whole.
struct Demuxer<'a> {
    raw: NonNull<WebPDemuxer>,
    /// It points into the bytes of the file.
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Demuxer<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let data = WebPData {
            bytes: bytes.as_ptr(),
            size: bytes.len(),
        };
        // SAFETY: `data` describes a slice, which outlives the demuxer; a null state is not written to.
        let raw = unsafe { WebPDemuxInternal(&data, 0, null_mut(), WEBP_DEMUX_ABI_VERSION as _) };
        let raw = NonNull::new(raw).ok_or_else(|| invalid("the file is damaged or cut off"))?;
        Ok(Demuxer {
            raw,
            bytes: PhantomData,
        })
    }

    /// Width and height.
    fn canvas(&self) -> (u32, u32) {
        // SAFETY: the demuxer was made by `new` and not deleted.
        let get = |feature| unsafe { WebPDemuxGetI(self.raw.as_ptr(), feature) };
        (
            get(WebPFormatFeature::WEBP_FF_CANVAS_WIDTH),
            get(WebPFormatFeature::WEBP_FF_CANVAS_HEIGHT),
        )
    }

    fn draw_first_frame(&self, canvas: &mut [u8], stride: usize) -> Result<()> {
        let frame = Frame::first(self)?;
        let offset = frame.raw.y_offset as usize * stride + frame.raw.x_offset as usize * CHANNELS;
        let target = canvas
            .get_mut(offset..)
            .ok_or_else(|| invalid("a frame is outside the picture"))?;
        let mut config = WebPDecoderConfig::new().map_err(|()| invalid("libwebp has another version"))?;
        config.output.colorspace = WEBP_CSP_MODE::MODE_RGB;
        config.output.is_external_memory = 1;
        config.output.u.RGBA = WebPRGBABuffer {
            rgba: target.as_mut_ptr(),
            stride: stride as _,
            size: target.len(),
        };
        // SAFETY: the fragment is within the bytes that the demuxer was made of. The output is a slice of that size that nothing else
        // uses, and libwebp refuses to decode a picture that does not fit in; it keeps no memory of its own behind it.
        let status = unsafe { WebPDecode(frame.raw.fragment.bytes, frame.raw.fragment.size, &mut config) };
        match status {
            VP8StatusCode::VP8_STATUS_OK => Ok(()),
            // Which of its codes says nothing: for damaged alpha it is the one of missing memory.
            _ => Err(invalid("the image data is damaged")),
        }
    }
}

impl Drop for Demuxer<'_> {
    fn drop(&mut self) {
        // SAFETY: the demuxer was made by `new` and is deleted once; frames, which borrow it, are gone.
        unsafe { WebPDemuxDelete(self.raw.as_ptr()) };
    }
}

/// A frame of a file.
struct Frame<'a> {
    raw: WebPIterator,
    demuxer: PhantomData<&'a Demuxer<'a>>,
}

impl<'a> Frame<'a> {
    fn first(demuxer: &'a Demuxer) -> Result<Self> {
        let mut raw = MaybeUninit::zeroed();
        // SAFETY: the demuxer is there, and the iterator is memory that may be written to.
        let found = unsafe { WebPDemuxGetFrame(demuxer.raw.as_ptr(), 1, raw.as_mut_ptr()) };
        match found {
            0 => Err(invalid("there is no image in it")),
            _ => Ok(Frame {
                // SAFETY: libwebp has filled it in. Zeros, which it was before, are valid in every field, too.
                raw: unsafe { raw.assume_init() },
                demuxer: PhantomData,
            }),
        }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        // SAFETY: it was filled in by libwebp, and its demuxer is still there.
        unsafe { WebPDemuxReleaseIterator(&mut self.raw) };
    }
}

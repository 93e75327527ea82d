//! Writing: in one request, or in parts if the object is large.

use std::time::Duration;

use aws_sdk_s3::config::Config;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::debug;

use super::client::timeouts;
use super::{Bucket, DEADLINE};
use crate::error::{Error, ErrorKind, Result, Step, printable};

/// A larger object is written in parts of this size, so that a broken connection does not cost all of it. S3 takes 5 GiB in one piece.
const PART: u64 = 64 << 20;
/// S3's limit.
const MAX_PARTS: u64 = 10_000;
const PARTS_AT_ONCE: usize = 4;
/// Parts of a copy, which the service makes by itself.
const COPIED_PART: u64 = 1 << 30;
/// Bytes a second that a line has at least, for what is sent: how far that has come, nobody sees.
const SLOWEST_UPLOAD: u64 = 4 << 10;

/// What must hold for a write to happen.
pub(super) enum Condition {
    None,
    Absent,
    Tag(String),
}

/// One part of an object: its number, from 1, and its bytes.
#[derive(Clone, Copy)]
struct Part {
    number: i32,
    from: u64,
    to: u64,
}

impl Bucket {
    pub(super) async fn put(&self, key: &str, content: Bytes, condition: Condition) -> Result<()> {
        let (if_none_match, if_match) = match condition {
            Condition::None if content.len() as u64 > PART => return self.put_parts(key, content).await,
            Condition::None => (None, None),
            Condition::Absent => (Some("*".to_owned()), None),
            Condition::Tag(tag) => (None, Some(tag)),
        };
        let deadline = time_to_send(content.len() as u64);
        let request = self.client().await?.put_object();
        let put = request
            .bucket(&self.name)
            .key(self.full_key(key))
            .body(content.into())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .set_request_payer(self.request_payer.clone())
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(deadline)))
            .send();
        self.in_time(Step::Write, key, deadline, put).await.map(|_| ())
    }

    /// Nobody sees anything of it before all parts are there.
    async fn put_parts(&self, key: &str, content: Bytes) -> Result<()> {
        let size = content.len() as u64;
        let upload = self.begin_parts(key).await?;
        let sends: Vec<_> = parts(size, PART.max(size.div_ceil(MAX_PARTS)))
            .into_iter()
            .map(|part| self.put_part(key, &upload, part, content.slice(part.from as usize..part.to as usize)))
            .collect();
        self.end_parts(key, &upload, None, sends).await
    }

    async fn put_part(&self, key: &str, upload: &str, part: Part, content: Bytes) -> Result<CompletedPart> {
        let deadline = time_to_send(content.len() as u64);
        let request = self.client().await?.upload_part();
        let put = request
            .bucket(&self.name)
            .key(self.full_key(key))
            .upload_id(upload)
            .part_number(part.number)
            .body(content.into())
            .set_request_payer(self.request_payer.clone())
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(deadline)))
            .send();
        let put = self.in_time(Step::Write, key, deadline, put).await?;
        debug!("{}: the bytes up to {} are sent", printable(&self.uri(key)), part.to);
        Ok(CompletedPart::builder()
            .part_number(part.number)
            .set_e_tag(put.e_tag)
            .set_checksum_crc32(put.checksum_crc32)
            .build())
    }

    /// Copies what is too large for one request. `source` is what it is in such a request.
    pub(super) async fn copy_parts(&self, from: &str, source: &str, to: &str) -> Result<()> {
        let head = self.client().await?.head_object();
        let head = head.bucket(&self.name).key(self.full_key(from));
        let head = head.set_request_payer(self.request_payer.clone()).send().await;
        let head = head.map_err(|error| self.error(Step::Read, from, error))?;
        let size = head.content_length().and_then(|bytes| bytes.try_into().ok());
        let tag = head.e_tag();
        let upload = self.begin_parts(to).await?;
        let copies: Vec<_> = parts(size.unwrap_or_default(), COPIED_PART)
            .into_iter()
            .map(|part| self.copy_part(from, source, tag, to, &upload, part))
            .collect();
        self.end_parts(to, &upload, Some("*"), copies).await
    }

    async fn copy_part(
        &self,
        from: &str,
        source: &str,
        tag: Option<&str>,
        to: &str,
        upload: &str,
        part: Part,
    ) -> Result<CompletedPart> {
        let request = self.client().await?.upload_part_copy();
        let copy = request
            .bucket(&self.name)
            .key(self.full_key(to))
            .upload_id(upload)
            .part_number(part.number)
            .copy_source(source)
            .set_copy_source_if_match(tag.map(str::to_owned))
            .copy_source_range(format!("bytes={}-{}", part.from, part.to - 1))
            .set_request_payer(self.request_payer.clone())
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(DEADLINE)))
            .send();
        let copied = self.in_time(Step::Write, from, DEADLINE, copy).await?.copy_part_result;
        Ok(CompletedPart::builder()
            .part_number(part.number)
            .set_e_tag(copied.as_ref().and_then(|part| part.e_tag.clone()))
            .set_checksum_crc32(copied.and_then(|part| part.checksum_crc32))
            .build())
    }

    async fn begin_parts(&self, key: &str) -> Result<String> {
        let request = self.client().await?.create_multipart_upload();
        let request = request.bucket(&self.name).key(self.full_key(key));
        let created = request.set_request_payer(self.request_payer.clone()).send().await;
        let upload = created.map_err(|error| self.error(Step::Write, key, error))?.upload_id;
        upload.ok_or_else(|| {
            let message = "the service began no upload in parts";
            Error::new(ErrorKind::Unavailable, Step::Write, self.uri(key), message)
        })
    }

    /// Waits for all parts and makes the object of them. If one of them fails, none is kept.
    async fn end_parts(
        &self,
        key: &str,
        upload: &str,
        if_none_match: Option<&str>,
        parts: Vec<impl Future<Output = Result<CompletedPart>> + Send>,
    ) -> Result<()> {
        let parts = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await;
        let result = match parts {
            Ok(parts) => self.complete(key, upload, if_none_match, parts).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            let abort = self.client().await?.abort_multipart_upload();
            let abort = abort.bucket(&self.name).key(self.full_key(key)).upload_id(upload);
            // What cannot be removed now is left to the bucket's lifecycle.
            let _ = abort.set_request_payer(self.request_payer.clone()).send().await;
        }
        result
    }

    async fn complete(
        &self,
        key: &str,
        upload: &str,
        if_none_match: Option<&str>,
        parts: Vec<CompletedPart>,
    ) -> Result<()> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client().await?.complete_multipart_upload();
        let complete = request
            .bucket(&self.name)
            .key(self.full_key(key))
            .upload_id(upload)
            .multipart_upload(parts)
            .set_if_none_match(if_none_match.map(str::to_owned))
            .set_request_payer(self.request_payer.clone())
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(DEADLINE)))
            .send();
        self.in_time(Step::Write, key, DEADLINE, complete).await.map(|_| ())
    }

    pub(super) async fn delete(&self, key: &str, condition: Condition) -> Result<()> {
        let tag = match condition {
            Condition::Tag(tag) => Some(tag),
            _ => None,
        };
        let request = self.client().await?.delete_object();
        request
            .bucket(&self.name)
            .key(self.full_key(key))
            .set_if_match(tag)
            .set_request_payer(self.request_payer.clone())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| self.error(Step::Write, key, error))
    }
}

/// So many bytes in parts of one size; the last one is shorter.
fn parts(size: u64, part: u64) -> Vec<Part> {
    (0..size.div_ceil(part))
        .map(|i| Part {
            number: i as i32 + 1,
            from: i * part,
            to: size.min((i + 1) * part),
        })
        .collect()
}

/// The time that so many bytes have to arrive: a few different ones, since the connections of each are kept apart.
fn time_to_send(bytes: u64) -> Duration {
    let times = (bytes / SLOWEST_UPLOAD)
        .div_ceil(DEADLINE.as_secs())
        .next_power_of_two();
    DEADLINE * times as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_bytes() {
        let all = parts(10, 4);
        let bounds: Vec<_> = all.iter().map(|part| (part.number, part.from, part.to)).collect();
        assert_eq!(bounds, [(1, 0, 4), (2, 4, 8), (3, 8, 10)]);
        assert!(parts(0, 4).is_empty());
        assert_eq!(time_to_send(1000), DEADLINE);
        assert_eq!(time_to_send(PART), DEADLINE * 64);
    }
}

/* libjpeg for jpeg.rs. Its errors leave by longjmp, which must not cross frames of Rust: here each call returns what has come of it. */

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

enum { DONE, CUT, BROKEN };
enum { RGB, CMYK, AS_STORED };

typedef struct {
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf failed;
  char message[JMSG_LENGTH_MAX];
  int max_scans;
} Decoder;

static void fail(j_common_ptr info) {
  Decoder *decoder = info->client_data;
  info->err->format_message(info, decoder->message);
  longjmp(decoder->failed, 1);
}

/* Warnings are none of our business: what libjpeg can step over, Pillow steps over. */
static void ignore(j_common_ptr info, int level) { (void)info, (void)level; }
static void nothing(j_decompress_ptr info) { (void)info; }

/* All bytes are there from the beginning. When libjpeg asks for more, the file is cut off. */
static boolean no_more(j_decompress_ptr info) {
  (void)info;
  return FALSE;
}

static void skip(j_decompress_ptr info, long count) {
  size_t left = info->src->bytes_in_buffer;
  size_t skipped = count < 0 ? 0 : (size_t)count < left ? (size_t)count : left;
  info->src->next_input_byte += skipped;
  info->src->bytes_in_buffer -= skipped;
}

static void count_scans(j_common_ptr info) {
  Decoder *decoder = info->client_data;
  if (((j_decompress_ptr)info)->input_scan_number <= decoder->max_scans) return;
  snprintf(decoder->message, sizeof decoder->message, "more than %d scans", decoder->max_scans);
  longjmp(decoder->failed, 1);
}

void fruits_jpeg_close(Decoder *decoder) {
  /* Safe whatever was done before, since all was zero in the beginning; it cannot fail. */
  jpeg_destroy_decompress(&decoder->info);
  free(decoder);
}

static int create(Decoder *decoder) {
  decoder->info.err = jpeg_std_error(&decoder->errors);
  decoder->errors.error_exit = fail;
  decoder->errors.emit_message = ignore;
  decoder->info.client_data = decoder;
  if (setjmp(decoder->failed)) return BROKEN;
  jpeg_create_decompress(&decoder->info);
  return DONE;
}

/* NULL if there is no memory. The bytes have to outlive it. */
Decoder *fruits_jpeg_open(const unsigned char *bytes, size_t length, int max_scans) {
  Decoder *decoder = calloc(1, sizeof *decoder);
  if (!decoder) return NULL;
  if (create(decoder) != DONE) {
    fruits_jpeg_close(decoder);
    return NULL;
  }
  decoder->source.next_input_byte = bytes;
  decoder->source.bytes_in_buffer = length;
  decoder->source.init_source = nothing;
  decoder->source.fill_input_buffer = no_more;
  decoder->source.skip_input_data = skip;
  decoder->source.resync_to_restart = jpeg_resync_to_restart;
  decoder->source.term_source = nothing;
  decoder->info.src = &decoder->source;
  decoder->progress.progress_monitor = count_scans;
  decoder->info.progress = &decoder->progress;
  decoder->max_scans = max_scans;
  return decoder;
}

const char *fruits_jpeg_message(const Decoder *decoder) { return decoder->message; }

/* Up to the first scan. Tables may come before, in streams of their own. */
int fruits_jpeg_header(Decoder *decoder, unsigned *width, unsigned *height, int *components, int *bits) {
  int read;
  if (setjmp(decoder->failed)) return BROKEN;
  do read = jpeg_read_header(&decoder->info, FALSE);
  while (read == JPEG_HEADER_TABLES_ONLY);
  if (read == JPEG_SUSPENDED) return CUT;
  *width = decoder->info.image_width;
  *height = decoder->info.image_height;
  *components = decoder->info.num_components;
  *bits = decoder->info.data_precision;
  return DONE;
}

/* What comes out, in which size: 1 / scale of the picture's. Of a progressive JPEG, this reads all. */
int fruits_jpeg_start(Decoder *decoder, int colour, unsigned scale, unsigned *width, unsigned *height) {
  struct jpeg_decompress_struct *info = &decoder->info;
  if (setjmp(decoder->failed)) return BROKEN;
  switch (colour) {
    case CMYK: info->out_color_space = JCS_CMYK; break;
    case AS_STORED: info->jpeg_color_space = info->out_color_space = JCS_UNKNOWN; break;
    default: info->out_color_space = JCS_RGB;
  }
  info->scale_num = 1;
  info->scale_denom = scale;
  if (!jpeg_start_decompress(info)) return CUT;
  *width = info->output_width;
  *height = info->output_height;
  return DONE;
}

int fruits_jpeg_rows(Decoder *decoder, unsigned char *rows, size_t stride, unsigned count) {
  if (setjmp(decoder->failed)) return BROKEN;
  for (unsigned row = 0; row < count; row++) {
    JSAMPROW target = rows + row * stride;
    if (jpeg_read_scanlines(&decoder->info, &target, 1) != 1) return CUT;
  }
  return DONE;
}

/* Looks at what is behind the last row, as far as there is anything: no end is needed, but what is no JPEG at all is an error. */
int fruits_jpeg_finish(Decoder *decoder) {
  if (setjmp(decoder->failed)) return BROKEN;
  jpeg_finish_decompress(&decoder->info);
  return DONE;
}

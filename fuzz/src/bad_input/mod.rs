mod reviews;
mod texts;

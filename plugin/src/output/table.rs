//! Tables as kubectl prints them: a header in capitals, columns three spaces apart, nothing wrapped.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table as Columns};

use super::sanitise::clean;

/// Rows under a header. Every cell is cleaned on its way in.
#[derive(Debug)]
pub struct Table {
    columns: Columns,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        let mut columns = Columns::new();
        columns
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(header.iter().map(ToString::to_string));
        for column in columns.column_iter_mut() {
            column.set_padding((0, 3));
        }
        Self { columns }
    }

    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.columns.add_row(
            cells
                .into_iter()
                .map(|cell| clean(cell.as_ref()).into_owned()),
        );
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, line) in self.columns.lines().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_a_cell_cannot_break_its_row() {
        let mut table = Table::new(&["NAMESPACE", "OBJECT"]);
        table.row(["shop", "deployments/web"]);
        table.row(["a-much-longer-name", "x\ny"]);
        assert_eq!(
            table.to_string(),
            "NAMESPACE            OBJECT\n\
             shop                 deployments/web\n\
             a-much-longer-name   x\\u{a}y"
        );
    }
}

"""Tables by the name of their paper: what `kwise table` prints, makes and draws."""

from kwise.recipes import (
    disk_figures,
    disk_table,
    kmtr,
    kmtr_figures,
    kmtr_table,
    kspace_transformer_figures,
    kspace_transformer_table,
    patients,
    raw_table,
)
from kwise.recipes.rows import PaperTable

TABLES: dict[str, PaperTable] = {
    "disk": PaperTable(disk_table.SCALES, disk_table.rows, disk_table.tables, disk_figures.figures),
    "kspace_transformer": PaperTable(
        kspace_transformer_table.SCALES,
        kspace_transformer_table.rows,
        kspace_transformer_table.tables,
        kspace_transformer_figures.figures,
    ),
    "raw": PaperTable(raw_table.SCALES, raw_table.rows, raw_table.tables, raw_table.figures),
    "kmtr": PaperTable(
        (*kmtr.SCALES, patients.SCALE),
        lambda scale: patients.rows() if scale == patients.SCALE else kmtr_table.rows(scale),
        lambda scale, results: (
            patients.tables(results) if scale == patients.SCALE else kmtr_table.tables(scale, results)
        ),
        kmtr_figures.figures,
    ),
}

"""What every recall model stands on: histories to scores, folders, columns of tables."""
